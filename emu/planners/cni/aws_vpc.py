"""NAME
    aws-vpc: the AWS VPC CNI; Pods have addresses of the VPC, as Nodes have

PACKET PATH
    Pod                Node 1                       VPC                       Node 2                  Pod
    eth0 ── eni… ── (route) ── eth0 ═══ (table: address → ENI) ═══ eth1 ── (route) ── eni… ── eth0
                               Pod → Pod, as it is: no overlay, no NAT, no bridge
    A Pod's address is a secondary one of one of its Node's interfaces (ENIs), and its packets leave by that ENI alone:
    the VPC drops what comes from an address that the ENI has not been given.
    On eth0: by the main table; within the subnet the VPC answers ARP for the other Pod's address, with its ENI's MAC.
    On eth1 and further: by a rule of routing for its source, and its ENI's table, to the subnet's gateway.
    Leaving the VPC: marked 0x80 on the way in, so by the main table and eth0, whatever the Pod's ENI; SNAT to the
    first address of eth0, the only one that the internet gateway has a public address for.

KERNEL OBJECTS, on each Node
    eni…        one for each Pod, no address; a route to the Pod's address in main
    eth1 …      further ENIs, each with an address without a route, and a table (eth1: 2)
    ip rule     512    from all to POD lookup main          one for each Pod
                1024   from all fwmark 0x80/0x80 lookup main
                1535   from all to CIDR lookup main         external_service_cidrs
                1536   from POD lookup 2                    Pods that are not on eth0
                32765  from ENI lookup 2                    its own address
    nat         AWS-SNAT-CHAIN-0, AWS-CONNMARK-CHAIN-0
    mangle      PREROUTING, three rules: the mark of connections that came in by eth0 (NodePorts)
    sysctls     eth0: rp_filter 2
    files       /etc/cni/net.d/10-aws.conflist
    in a Pod    eth0 with a /32, 169.254.1.1 dev eth0 scope link, default via 169.254.1.1, a permanent neighbor entry
                for it with the MAC of eni…

BRINGS
    fabric.kind vpc, fabric.mtu 9001, ranges.nodes 10.0.0.0/20 (the subnet), ranges.pods 10.0.0.0/16 (the VPC),
    proxy.options detectLocalMode None, as EKS starts kube-proxy without clusterCIDR

MTU
    the ENI's: nothing is put around a packet. Beyond the internet gateway it is 1500.

OPTIONS
    instance_type: t3.medium     of all Nodes; a Node's label node.kubernetes.io/instance-type says otherwise. It holds
                                 ENIs x (addresses - 1) Pods; kubelet's --max-pods is two more, for those with the
                                 Node's address
    prefix_delegation: false     /28 prefixes in place of secondary addresses
    warm_eni_target: 1           as many whole ENIs' addresses are kept free; warm_prefix_target: 1, the same in /28
    external_snat: false         true: no source NAT and no CONNMARK in nat, it is to be done outside
    exclude_snat_cidrs: []       also reached with the Pod's own address
    external_service_cidrs: []   routed by the main table
    randomize_snat: prng         prng, hashrandom or none: --random-fully, --random or neither

LIMITS
    IPv4. The VPC wants Linux 5.16 (nftables at the egress hook of its ports). No security groups, nor Pods with their
    own (branch ENIs, vlan…), no second network card, no custom networking.
    aws-node from 1.23 writes the CONNMARK rules of nat as an nftables table where it finds iptables in nft mode; here
    they are iptables rules in both, as before.
    The route of eth1's address to its network, which aws-node deletes, is here not made (noprefixroute).
    ENIs are attached and not given back. AWS draws addresses at random; here they are in order.

SOURCES
    aws/amazon-vpc-cni-k8s pkg/networkutils/network.go, cmd/routed-eni-cni-plugin/driver/driver.go,
    cmd/aws-vpc-cni-init/main.go
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from ipaddress import ip_interface, ip_network

from emu import names
from emu.addressing import EVERYTHING
from emu.api.topology import Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.ipam import aws_instances
from emu.cluster.model import Cluster, IPAddress, IPNetwork, Node, Pod, Uplink
from emu.memo import Memo
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Address, Link, Neighbor, NetnsKind, NetnsPlan, PolicyRule, Route, Sysctl
from emu.planners import choices, underlay, veth
from emu.planners.cni import aws_vpc_files, node_files
from emu.planners.cni.aws_vpc_rules import MARK, RANDOMIZE, Snat, part

NAME = "aws-vpc"
MAIN = 254
MOST_MTU = 9001  # AWS_VPC_ENI_MTU
SUBNETS = (16, 28)  # prefix lengths
TO_POD, TO_MAIN, TO_SERVICES, FROM_POD, FROM_ENI = 512, 1024, 1535, 1536, 32765
GATEWAY = ip_network("169.254.1.1/32")
OWN = ("external_snat", "exclude_snat_cidrs", "external_service_cidrs", "randomize_snat")
KNOWN = (*(field.name for field in fields(aws_instances.Options)), *OWN)


def check(topology: Topology) -> None:
    options = topology.cni.options
    for option in options:
        if option not in KNOWN:
            raise choices.unknown("cni", NAME, option, KNOWN)
    if topology.fabric.kind != "vpc":
        raise Wrong(f"is {topology.fabric.kind}, must be vpc with cni {NAME}", "fabric", "kind")
    if topology.fabric.mtu > MOST_MTU:
        raise Wrong(f"is {topology.fabric.mtu}, must be {MOST_MTU} at most in AWS", "fabric", "mtu")
    for index, subnet in enumerate(topology.ranges.nodes):
        if not SUBNETS[0] <= ip_network(subnet).prefixlen <= SUBNETS[1]:
            what = f"is {subnet}, must be a /{SUBNETS[0]} to /{SUBNETS[1]}, as AWS has subnets"
            raise Wrong(what, "ranges", "nodes", index)
    aws_instances.check(topology)
    snat_of(options, ())
    _cidrs(options, "external_service_cidrs")


def snat_of(options: Mapping[str, object], vpc: tuple[str, ...]) -> Snat:
    external, randomize = options.get("external_snat", False), options.get("randomize_snat", "prng")
    if not isinstance(external, bool):
        raise _wrong("external_snat", external, "true or false")
    if not isinstance(randomize, str) or randomize not in RANDOMIZE:
        raise _wrong("randomize_snat", randomize, f"one of {', '.join(RANDOMIZE)}")
    excluded = _cidrs(options, "exclude_snat_cidrs")
    return Snat(cidrs=vpc, excluded=excluded, external=external, randomize=randomize)


def _cidrs(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    given = options.get(name, ())
    try:
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ValueError
        return tuple(str(ip_network(each)) for each in given)
    except ValueError:
        raise _wrong(name, given, "a list of ranges") from None


def _wrong(name: str, value: object, wanted: str) -> Wrong:
    return Wrong(f"is {shown(value)}, must be {wanted}", "cni", "options", name)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    options, gateways = cluster.topology.cni.options, underlay.gateways(cluster)
    snat = snat_of(options, tuple(map(str, cluster.pod_ranges)))
    services = _cidrs(options, "external_service_cidrs")
    for node in cluster.nodes:
        gateway = gateways[node.addresses[0].network]
        yield _node((cluster.name, node.name), node, gateway, services)
        yield Rules(node.name, part((cluster.name, node.name), snat, str(node.addresses[0].ip)))
        conflist = aws_vpc_files.conflist(cluster.topology.fabric.mtu, snat.randomize)
        yield node_files.fragment((cluster.name, node.name, "aws"), node.name, (conflist,))
    uplinks = {node.name: node.every_uplink for node in cluster.nodes}
    for pod in cluster.pods:
        key = (cluster.name, pod.namespace, pod.name)
        table = _table_of(uplinks[pod.node], pod.addresses[0])
        yield from _pod_link(key, cluster.seed, pod, table, cluster.topology.fabric.mtu)


def _table_of(uplinks: tuple[Uplink, ...], address: IPAddress) -> int:
    """Of the ENI that the address is assigned to: main for eth0, 2 for eth1 …"""
    number = next(i for i, uplink in enumerate(uplinks) if any(address in network for network in uplink.assigned))
    return number + 1 if number else MAIN


def _make_node(node: Node, gateway: IPAddress, services: tuple[str, ...]) -> NetnsPlan:
    further = node.every_uplink[1:]
    own = (PolicyRule(priority=TO_SERVICES, table=MAIN, dst=ip_network(each)) for each in services)
    return NetnsPlan(
        name=node.name,
        kind=NetnsKind.NODE,
        owner=node.name,
        addresses=tuple(Address(dev=uplink.dev, address=uplink.addresses[0], prefix_route=False) for uplink in further),
        routes=tuple(
            route for number, uplink in enumerate(further, 2) for route in _eni_table(uplink, gateway, number)
        ),
        rules=(
            PolicyRule(priority=TO_MAIN, table=MAIN, fwmark=MARK, fwmask=MARK),
            *own,
            *(
                PolicyRule(priority=FROM_ENI, table=number, src=ip_network(uplink.addresses[0].ip))
                for number, uplink in enumerate(further, 2)
            ),
        ),
        sysctls=(
            Sysctl(key=f"net.ipv4.conf.{names.UPLINK}.rp_filter", value="2"),
            Sysctl(key="net.ipv4.tcp_early_demux", value="1"),
        ),
    )


def _eni_table(uplink: Uplink, gateway: IPAddress, table: int) -> Iterator[Route]:
    yield Route(dst=ip_network(gateway), dev=uplink.dev, scope="link", table=table)
    yield Route(dst=EVERYTHING[4], dev=uplink.dev, via=gateway, table=table)


def _make_pod_link(seed: int, pod: Pod, table: int, mtu: int) -> tuple[NetnsPlan, NetnsPlan]:
    """The Pod's netns with its end, and the Node's with the other."""
    mac = names.mac("host", seed, pod.namespace, pod.name)
    inside, outside = veth.pair(
        veth.in_pod(pod, names.mac("pod", seed, pod.namespace, pod.name)),
        veth.on_node(pod, names.aws_veth(pod.namespace, pod.name), mac),
        mtu,
    )
    own = tuple(ip_network(address) for address in pod.addresses)
    return _inside(pod, inside, mac), _outside(pod, outside, own, table)


def _inside(pod: Pod, link: Link, mac: str) -> NetnsPlan:
    """`mac`: of the other end."""
    via = GATEWAY.network_address
    return NetnsPlan(
        name=names.pod_netns(pod.namespace, pod.name),
        kind=NetnsKind.POD,
        owner=pod.key,
        links=(link,),
        addresses=tuple(Address(dev=names.POD_ETH, address=ip_interface(address)) for address in pod.addresses),
        routes=(
            Route(dst=GATEWAY, dev=names.POD_ETH, scope="link"),
            Route(dst=EVERYTHING[4], dev=names.POD_ETH, via=via),
        ),
        neighbors=(Neighbor(dev=names.POD_ETH, address=via, mac=mac),),
    )


def _outside(pod: Pod, link: Link, own: tuple[IPNetwork, ...], table: int) -> NetnsPlan:
    sent = (PolicyRule(priority=FROM_POD, table=table, src=address) for address in own if table != MAIN)
    return NetnsPlan(
        name=pod.node,
        kind=NetnsKind.NODE,
        owner=pod.node,
        links=(link,),
        routes=tuple(Route(dst=address, dev=link.name, scope="link") for address in own),
        rules=(*(PolicyRule(priority=TO_POD, table=MAIN, dst=address) for address in own), *sent),
        sysctls=tuple(
            Sysctl(key=f"net.ipv6.conf.{link.name}.{setting}", value=value)
            for setting, value in (("accept_ra", "0"), ("accept_redirects", "1"), ("forwarding", "0"))
        ),
    )


_node: Memo[NetnsPlan] = Memo(_make_node)
_pod_link: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(_make_pod_link, size=1 << 15)
