"""The Node network: switches and their cables in the fabric's netns, every Node's uplink, address, gateway, sysctls;
routers between racks.

A router knows the Node networks only: of Pods and Services it has never heard, and it has no default route. Where the
topology names no router each Node still has the default route a real one has, because a program on a Node needs a
route to a ClusterIP before netfilter can rewrite it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from emu import names
from emu.addressing import EVERYTHING
from emu.api.racks import VPC
from emu.api.topology import Fabric
from emu.cluster.model import Cluster, IPAddress, IPInterface, IPNetwork, Node, Router
from emu.errors import PlanError
from emu.memo import Memo
from emu.plan.merge import Fragment
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Role, Route, Sysctl
from emu.planners import addresscheck, vpc

MAX_NAME = 15  # IFNAMSIZ - 1
Homes = tuple[tuple[str, str, str], ...]  # switch, who has a port on it, by which interface


def plan(cluster: Cluster) -> Iterator[Fragment]:
    fabric = cluster.topology.fabric
    yield from (_vpc if fabric.kind == VPC else _switched)(cluster)
    gateway = gateways(cluster)
    for node in cluster.nodes:
        ways = tuple(gateway[interface.network] for interface in node.addresses)
        yield _node((cluster.name, node.name), cluster.seed, node, ways, fabric, cluster.families)


def _switched(cluster: Cluster) -> Iterator[Fragment]:
    fabric = cluster.topology.fabric
    homes = (
        *((port.switch, router.name, port.dev) for router in cluster.routers for port in router.ports),
        *((node.switch, node.name, names.UPLINK) for node in cluster.nodes),
    )
    filtered = cluster.families if addresscheck.checks(cluster) else ()
    yield _fabric(cluster.name, cluster.seed, fabric, homes, filtered)
    yield from addresscheck.plan(cluster)
    for router in cluster.routers:
        mtus = tuple(fabric.mtu_of(port.switch) for port in router.ports)
        yield _router((cluster.name, router.name), cluster.seed, router, mtus, cluster.families)


def _vpc(cluster: Cluster) -> Iterator[Fragment]:
    """No switch: each uplink leads to the VPC."""
    without = replace(cluster.topology.fabric, switches=(), links=())
    yield _fabric(cluster.name, cluster.seed, without, (), ())
    yield from vpc.plan(cluster, gateways(cluster))


def _far_end(seed: int, fabric: Fabric, node: Node, dev: str) -> tuple[str, str]:
    if fabric.kind == VPC:
        return names.VPC, names.vpc_port(seed, node.name, dev)
    return _port_of(seed, node.switch, node.name)


def gateways(cluster: Cluster) -> dict[IPNetwork, IPAddress]:
    """By Node network: its first router, or where one would be, at the first address that no Node has."""
    found: dict[IPNetwork, IPAddress] = {}
    for interface in _ports(cluster):
        found.setdefault(interface.network, interface.ip)
    taken = {interface.ip for node in cluster.nodes for interface in node.addresses}
    for network in cluster.node_ranges:
        if network not in found:
            found[network] = next(ip for ip in network.hosts() if ip not in taken)
    return found


def _ports(cluster: Cluster) -> Iterator[IPInterface]:
    return (interface for router in cluster.routers for port in router.ports for interface in port.addresses)


def notes(cluster: Cluster) -> Iterator[str]:
    if not cluster.routers:
        for via in sorted(map(str, gateways(cluster).values())):
            yield f"no router: nobody has {via}, the Nodes' default gateway, so packets to the outside end there"


@lru_cache(maxsize=4)
def ipv6_off(families: tuple[int, ...]) -> tuple[Sysctl, ...]:
    """Without IPv6 in the cluster no link shall send router solicitations, MLD reports or duplicate address probes.
    `lo` keeps it: /etc/hosts says that localhost is also ::1. The order matters: `all` writes to `lo` too."""
    if 6 in families:
        return ()
    values = (("all", "1"), ("default", "1"), ("lo", "0"))
    return tuple(Sysctl(key=f"net.ipv6.conf.{which}.disable_ipv6", value=value) for which, value in values)


def _make_fabric(seed: int, fabric: Fabric, homes: Homes, filtered: tuple[int, ...]) -> NetnsPlan:
    links = [_switch(seed, name, fabric.mtu_of(name)) for name in fabric.switches]
    for a, b in fabric.links:
        links += [_port(seed, fabric.mtu_of(a), a, b, (names.FABRIC_NETNS, names.switch_port(seed, b, a)))]
        links += [_port(seed, fabric.mtu_of(b), b, a, (names.FABRIC_NETNS, names.switch_port(seed, a, b)))]
    links += [_port(seed, fabric.mtu_of(switch), switch, name, (name, dev)) for switch, name, dev in homes]
    return NetnsPlan(
        name=names.FABRIC_NETNS,
        kind=NetnsKind.FABRIC,
        owner=names.FABRIC_NETNS,
        links=tuple(links),
        sysctls=_fabric_sysctls(filtered),
    )


def _fabric_sysctls(filtered: tuple[int, ...]) -> tuple[Sysctl, ...]:
    """Switches only switch: with bridge-nf-call the fabric's own conntrack and rules would see every packet again.
    `filtered`: the families in which that is wanted."""
    tables = {"iptables": 4 in filtered, "ip6tables": 6 in filtered, "arptables": False}
    calls = tuple(Sysctl(key=f"net.bridge.bridge-nf-call-{table}", value=str(int(on))) for table, on in tables.items())
    return (*ipv6_off(()), *calls)


def _switch(seed: int, name: str, mtu: int) -> Link:
    if len(name.encode()) > MAX_NAME:
        raise PlanError(f"switch {name}: {len(name.encode())} bytes, an interface name has at most {MAX_NAME}")
    mac = names.mac("switch", seed, name)
    return Link(name=name, kind="bridge", role=Role.FABRIC, owner=name, mtu=mtu, mac=mac)


def _port(seed: int, mtu: int, switch: str, towards: str, peer: tuple[str, str]) -> Link:
    name = names.switch_port(seed, switch, towards)
    mac = names.mac("port", seed, switch, towards)
    return Link(
        name=name, kind="veth", role=Role.FABRIC, owner=switch, mtu=mtu, mac=mac, master=switch, peer=peer
    )  # fmt: skip


def _make_node(
    seed: int, node: Node, gateways: tuple[IPAddress, ...], fabric: Fabric, families: tuple[int, ...]
) -> NetnsPlan:
    """Its further uplinks are there; whoever has them attached gives them addresses."""
    ends = ((uplink.dev, _far_end(seed, fabric, node, uplink.dev)) for uplink in node.every_uplink)
    return NetnsPlan(
        name=node.name,
        kind=NetnsKind.NODE,
        owner=node.name,
        links=tuple(_uplink(seed, node.name, dev, end, fabric.mtu) for dev, end in ends),
        addresses=tuple(Address(dev=names.UPLINK, address=address) for address in node.addresses),
        routes=tuple(Route(dst=EVERYTHING[via.version], dev=names.UPLINK, via=via) for via in gateways),
        sysctls=_node_sysctls(families),
    )


def _uplink(seed: int, owner: str, dev: str, end: tuple[str, str], mtu: int) -> Link:
    return Link(
        name=dev,
        kind="veth",
        role=Role.UPLINK,
        owner=owner,
        mtu=mtu,
        mac=names.uplink_mac(seed, owner, dev),
        peer=end,
    )


def _make_router(seed: int, router: Router, mtus: tuple[int, ...], families: tuple[int, ...]) -> NetnsPlan:
    """`mtus` of its ports, which know what their switch takes."""
    dev_to = {interface.network: port.dev for port in router.ports for interface in port.addresses}
    return NetnsPlan(
        name=router.name,
        kind=NetnsKind.ROUTER,
        owner=router.name,
        links=tuple(
            _uplink(seed, router.name, port.dev, _port_of(seed, port.switch, router.name), mtu)
            for port, mtu in zip(router.ports, mtus, strict=True)
        ),
        addresses=tuple(Address(dev=port.dev, address=each) for port in router.ports for each in port.addresses),
        routes=tuple(
            Route(dst=network, via=via, dev=next(dev for own, dev in dev_to.items() if via in own))
            for network, via in router.routes
        ),
        sysctls=(*ipv6_off(families), *_settings(_forwarding(families))),
    )


def _port_of(seed: int, switch: str, owner: str) -> tuple[str, str]:
    return names.FABRIC_NETNS, names.switch_port(seed, switch, owner)


def _forwarding(families: tuple[int, ...]) -> dict[str, str]:
    """What routes, on a Node and on a router; reverse path filters would hide what routing does."""
    values = {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.rp_filter": "0",
        "net.ipv4.conf.default.rp_filter": "0",
    }
    if 6 in families:
        values["net.ipv6.conf.all.forwarding"] = "1"
        # While a link probes its own link-local address for a duplicate, for 1 or 2 s, it asks for no neighbor's MAC on
        # behalf of others: nothing would reach the Pods.
        values["net.ipv6.conf.default.accept_dad"] = "0"
    return values


def _settings(values: Mapping[str, str]) -> tuple[Sysctl, ...]:
    return tuple(Sysctl(key=key, value=value) for key, value in values.items())


def _node_sysctls(families: tuple[int, ...]) -> tuple[Sysctl, ...]:
    """What kubeadm asks of a Node, and what would otherwise be inherited from the machine, whatever that has."""
    values = {
        # Pods of one Node are on one bridge: without this a reply from a Service's backend is switched past the NAT.
        "net.bridge.bridge-nf-call-iptables": "1",
        "net.bridge.bridge-nf-call-ip6tables": "1",
        **_forwarding(families),
    }
    return (*ipv6_off(families), *_settings(values))


_fabric: Memo[NetnsPlan] = Memo(_make_fabric)
_node: Memo[NetnsPlan] = Memo(_make_node)
_router: Memo[NetnsPlan] = Memo(_make_router)
