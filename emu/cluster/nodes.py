"""Topology → Nodes: every Node's addresses and Pod ranges, carved so that a number tells whose it is.

Node n has 192.168.100.(10+n) and the Pods 10.244.n.0/24. Where the Pod range has exactly one piece per Node, the
pieces are taken from the first on. What one range or one node must obey is `api.topologyrules`' matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_interface, ip_network

from emu.addressing import carve
from emu.api.cnimodes import cni_mode
from emu.api.racks import VPC, is_routed, rack_of, racks
from emu.api.topology import NodeEntry, Topology
from emu.api.topologyrules import FAMILIES, IPV6_POD_PREFIX
from emu.cluster import vpc
from emu.cluster.model import IPAddress, IPInterface, IPNetwork, Node
from emu.errors import InputError, PlanError
from emu.memo import by_identity


def families(topology: Topology) -> tuple[int, ...]:
    try:
        return FAMILIES[topology.family]
    except KeyError:
        raise InputError(f"family is {topology.family!r}, must be one of {', '.join(FAMILIES)}") from None


def ranges(topology: Topology, which: str) -> tuple[IPNetwork, ...]:
    """`which` is nodes, pods or services: one network per family of the cluster, in its order."""
    networks = [_network(text, f"ranges.{which}") for text in getattr(topology.ranges, which)]
    picked = [[network for network in networks if network.version == family] for family in families(topology)]
    for family, found in zip(families(topology), picked, strict=True):
        if len(found) != 1:
            raise InputError(
                f"ranges.{which} has {len(found)} IPv{family} ranges, a {topology.family} cluster needs one"
            )
    return tuple(found[0] for found in picked)


def node_ranges(topology: Topology) -> tuple[IPNetwork, ...]:
    """The Node networks of all racks."""
    if not is_routed(topology.fabric):
        return ranges(topology, "nodes")
    return tuple(_network(text, "ranges.nodes") for text in topology.ranges.nodes)


def rack_networks(topology: Topology, switch: str) -> tuple[IPNetwork, ...]:
    """Those of the rack that a switch belongs to, one per family."""
    count = len(racks(topology.fabric))
    return node_ranges(topology)[rack_of(topology.fabric, switch) :: count]


def gateway_of(topology: Topology, network: IPNetwork) -> IPAddress:
    """Of a network without a router: where one would be, at the first address that no Node has."""
    taken = {address.ip for node in nodes(topology) for address in node.addresses}
    return next(ip for ip in network.hosts() if ip not in taken)


def _network(text: str, place: str) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None


def nodes(topology: Topology) -> tuple[Node, ...]:
    """Raises PlanError for a range that is used up, InputError for an address used twice."""
    return _nodes(topology)


@by_identity
def _nodes(topology: Topology) -> tuple[Node, ...]:
    made = tuple(_node(topology, entry, index) for index, entry in enumerate(topology.nodes, start=1))
    _check_unique(made)
    return made


def _node(topology: Topology, entry: NodeEntry, index: int) -> Node:
    return Node(
        name=entry.name,
        index=index,
        addresses=tuple(_address(entry, index, network) for network in rack_networks(topology, entry.switch)),
        pod_cidrs=tuple(_pod_cidrs(topology, index)),
        switch=entry.switch or topology.fabric.switches[0],
        labels=_labels(entry, index),
        public_address=vpc.public_address(index) if topology.fabric.kind == VPC else None,
    )


def _labels(entry: NodeEntry, index: int) -> dict[str, str]:
    """The first Node is the one the API server's endpoint (default/kubernetes) is at, hence its role."""
    role = {"node-role.kubernetes.io/control-plane": ""} if index == 1 else {}
    return {"kubernetes.io/hostname": entry.name, "kubernetes.io/os": "linux", **role, **entry.labels}


def _address(entry: NodeEntry, index: int, network: IPNetwork) -> IPInterface:
    asked = [text.strip() for text in entry.address.split(",") if text.strip()]
    for text in asked:
        address = _parsed(entry, text)
        if address.version == network.version:
            if address not in network or address in (network.network_address, network.broadcast_address):
                raise InputError(
                    f"node {entry.name}: address {address} is not a host address of {network} (ranges.nodes)"
                )
            return ip_interface(f"{address}/{network.prefixlen}")
    # Node 1 of an IPv6 network is ::11, not ::b: the number is meant to be read.
    offset = int(str(10 + index), 16) if network.version == 6 else 10 + index
    if offset >= network.num_addresses - 1:
        raise PlanError(
            f"ranges.nodes {network} has no address for node {entry.name}: node {index} gets number {offset}, "
            f"the last one is {network.num_addresses - 2}",
            hint="give a larger ranges.nodes, or an address for the node",
        )
    return ip_interface(f"{network[offset]}/{network.prefixlen}")


def _parsed(entry: NodeEntry, text: str) -> IPAddress:
    try:
        return ip_interface(text).ip
    except ValueError as error:
        raise InputError(f"node {entry.name}: address: {error}") from None


def _pod_cidrs(topology: Topology, index: int) -> Iterator[IPNetwork]:
    """None where Pods have addresses of the Node networks."""
    for network in () if cni_mode(topology.cni.mode).one_range else ranges(topology, "pods"):
        yield _pod_cidr(topology, network, index)


def _pod_cidr(topology: Topology, network: IPNetwork, index: int) -> IPNetwork:
    if cni_mode(topology.cni.mode).shared_range:
        return network
    prefix = IPV6_POD_PREFIX if network.version == 6 else topology.ranges.node_pod_prefix
    count = 1 << (prefix - network.prefixlen) if prefix >= network.prefixlen else 0
    wanted = len(topology.nodes)
    if count < wanted:
        raise PlanError(
            f"ranges.pods {network} holds {count} ranges of /{prefix}, and there are {wanted} nodes",
            hint="give a larger ranges.pods or a longer ranges.node_pod_prefix",
        )
    return carve(network, prefix, index if count > wanted else index - 1)


def _check_unique(made: Sequence[Node]) -> None:
    """An address that was asked for may be one that another Node's number gives."""
    holders: dict[IPAddress, str] = {}
    for node in made:
        for address in node.addresses:
            if address.ip in holders:
                raise InputError(
                    f"nodes {holders[address.ip]} and {node.name} both have the address {address.ip}",
                    hint="give each of them an address",
                )
            holders[address.ip] = node.name
