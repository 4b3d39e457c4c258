"""A cloud's network: the VPC knows which address it has given to which interface (ENI), and delivers by that alone.

    node1:eth0 ── vpc:node1-eth0 ─┐
    node1:eth1 ── vpc:node1-eth1 ─┤ routes: the table address → ENI ── vpc:igw ── internet:eth0
    node2:eth0 ── vpc:node2-eth0 ─┘

It is a router with a port for each ENI. It answers ARP on each for the subnet's gateway, with the router's MAC, and for
what is assigned to the subnet's other ENIs, with that ENI's; nobody's broadcast is heard. A frame to an ENI's MAC comes
there as it was sent, if the ENI has the packet's destination; one to the router's is routed, and comes from the
router's MAC (`emu.plan.subnet`). What goes to an address that nobody has ends in the blackhole of the VPC's range, and
what comes from one that its ENI has not been given is dropped (AWS: the source/destination check). A VPC is no hop:
neither is it here, for the TTL it takes is given first.

To the internet, by the gateway `igw`, goes what a Node's eth0 sends with its own first address: it becomes the Node's
public one. All other private addresses have none, and are dropped there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_interface, ip_network

from emu import names
from emu.addressing import EVERYTHING
from emu.api.cnimodes import cni_mode
from emu.cluster.model import Cluster, IPAddress, IPNetwork, Node, Router, Uplink
from emu.cluster.vpc import GATEWAY, HOST
from emu.memo import Memo
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Address, Hook, Link, Neighbor, NetnsKind, NetnsPlan, Role, Route, RulesetPart, Sysctl
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort

OWNER = "fabric"
SPOOFED = "source is not assigned to this ENI"
NOT_PUBLIC = "source has no public address"
IGW, IGW_OUT, IGW_IN = "INTERNET-GATEWAY", "INTERNET-GATEWAY-SNAT", "INTERNET-GATEWAY-DNAT"
INTERNET_MTU = 1500  # AWS: jumbo frames end at the internet gateway


def plan(cluster: Cluster, gateways: Mapping[IPNetwork, IPAddress]) -> Iterator[Fragment]:
    vpc, internet = cluster.routers
    own = cluster.pod_ranges if cni_mode(cluster.topology.cni.mode).one_range else cluster.node_ranges
    yield _gateway(cluster.name, cluster.seed, vpc, own)
    for network in cluster.node_ranges:
        yield _subnet((cluster.name, network), network, gateways[network])
    mtu = cluster.topology.fabric.mtu
    for node in cluster.nodes:
        for uplink in node.every_uplink:
            gateway = gateways[uplink.addresses[0].network]
            yield _eni((cluster.name, node.name, uplink.dev), cluster.seed, node.name, uplink, gateway, mtu)
    yield _internet(cluster.name, cluster.seed, internet)
    yield Rules(names.VPC, _rules(cluster.name, cluster.nodes))


def _vpc(**parts: object) -> NetnsPlan:
    return NetnsPlan(name=names.VPC, kind=NetnsKind.ROUTER, owner=names.VPC, **parts)  # type: ignore[arg-type]


def _port(mac: str, name: str, mtu: int, peer: tuple[str, str]) -> Link:
    return Link(name=name, kind="veth", role=Role.FABRIC, owner=names.VPC, mtu=mtu, mac=mac, peer=peer)


def _settings(values: Mapping[str, str]) -> tuple[Sysctl, ...]:
    return tuple(Sysctl(key=key, value=value) for key, value in values.items())


def _without_ipv6() -> dict[str, str]:
    return {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}


def _make_gateway(seed: int, vpc: Router, own: tuple[IPNetwork, ...]) -> NetnsPlan:
    """What is there without any Node. The blackholes: an address of the VPC that nobody has is not outside."""
    values = {
        **_without_ipv6(),
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.rp_filter": "0",  # the check is a rule, which can be seen to drop
        "net.ipv4.conf.default.rp_filter": "0",
    }
    return _vpc(
        links=(_port(names.mac("vpc", seed, GATEWAY), GATEWAY, INTERNET_MTU, (names.INTERNET, names.UPLINK)),),
        addresses=tuple(Address(dev=GATEWAY, address=each) for each in vpc.ports[0].addresses),
        routes=(
            *(Route(dst=network, type="blackhole") for network in own),
            Route(dst=EVERYTHING[4], dev=GATEWAY, via=HOST),
        ),
        sysctls=_settings(values),
    )


def _make_subnet(network: IPNetwork, gateway: IPAddress) -> NetnsPlan:
    return _vpc(subnets=(Subnet(network=network, router=gateway),))


def _make_eni(seed: int, node: str, uplink: Uplink, gateway: IPAddress, mtu: int) -> NetnsPlan:
    """One line of the table: its addresses, and by the first of them what else is assigned. The ENI is never asked for
    its MAC, as it would not answer for its Pods. The router has one MAC in a subnet, whoever asks."""
    port, mac = names.vpc_port(seed, node, uplink.dev), names.uplink_mac(seed, node, uplink.dev)
    first, subnet = uplink.addresses[0].ip, uplink.addresses[0].network
    assigned = (*(ip_network(each.ip) for each in uplink.addresses), *uplink.assigned)
    own = (Route(dst=ip_network(each.ip), dev=port, scope="link") for each in uplink.addresses)
    proxy = {f"net.ipv4.neigh.{port}.proxy_delay": "0", f"net.ipv4.conf.{port}.proxy_arp": "1"}
    return _vpc(
        links=(_port(names.mac("vpc", seed, gateway), port, mtu, (node, uplink.dev)),),
        addresses=(Address(dev=port, address=ip_interface(gateway)),),
        routes=(*own, *(Route(dst=network, dev=port, via=first) for network in uplink.assigned)),
        neighbors=(Neighbor(dev=port, address=first, mac=mac),),
        subnets=(
            SubnetPort(network=subnet, dev=port),
            *(SubnetAddress(network=subnet, address=each, mac=mac) for each in assigned),
        ),
        sysctls=_settings(proxy),
    )


def _make_internet(seed: int, internet: Router) -> NetnsPlan:
    link = Link(
        name=names.UPLINK,
        kind="veth",
        role=Role.UPLINK,
        owner=names.INTERNET,
        mtu=INTERNET_MTU,
        mac=names.uplink_mac(seed, names.INTERNET, names.UPLINK),
        peer=(names.VPC, GATEWAY),
    )
    return NetnsPlan(
        name=names.INTERNET,
        kind=NetnsKind.ROUTER,
        owner=names.INTERNET,
        links=(link,),
        addresses=tuple(Address(dev=names.UPLINK, address=each) for each in internet.ports[0].addresses),
        routes=tuple(Route(dst=network, dev=names.UPLINK, via=via) for network, via in internet.routes),
        sysctls=_settings(_without_ipv6()),
    )


def _make_rules(nodes: tuple[Node, ...]) -> RulesetPart:
    public = [(str(node.addresses[0].ip), str(node.public_address)) for node in nodes]
    sent = (_rule("ACCEPT", Match("", "-s", own)) for own, _ in public)
    snat = (_rule("SNAT", Match("", "-s", own), options=f"--to-source {known}") for own, known in public)
    dnat = (_rule("DNAT", Match("", "-d", known), options=f"--to-destination {own}") for own, known in public)
    out, into = Match("", "-o", GATEWAY), Match("", "-i", GATEWAY)
    return RulesetPart(
        owner=OWNER,
        family=4,
        tables=(
            Table(4, "nat", (Chain(IGW_OUT, tuple(snat)), Chain(IGW_IN, tuple(dnat)))),
            Table(4, "filter", (Chain(IGW, (*sent, _rule("DROP", comment=NOT_PUBLIC))),)),
        ),
        hooks=(
            Hook(table="raw", chain="PREROUTING", rule=_rule("DROP", Match("rpfilter", "--invert"), comment=SPOOFED)),
            Hook(table="mangle", chain="PREROUTING", rule=_rule("TTL", comment="no hop", options="--ttl-inc 1")),
            Hook(table="nat", chain="PREROUTING", rule=_rule(IGW_IN, into)),
            Hook(table="nat", chain="POSTROUTING", rule=_rule(IGW_OUT, out)),
            Hook(table="filter", chain="FORWARD", rule=_rule(IGW, out)),
        ),
    )


def _rule(target: str, *matches: Match, comment: str = "", options: str = "") -> Rule:
    return Rule(matches, target, options, comment, comment_at=len(matches))


_gateway: Memo[NetnsPlan] = Memo(_make_gateway)
_subnet: Memo[NetnsPlan] = Memo(_make_subnet)
_eni: Memo[NetnsPlan] = Memo(_make_eni)
_internet: Memo[NetnsPlan] = Memo(_make_internet)
_rules: Memo[RulesetPart] = Memo(_make_rules)
