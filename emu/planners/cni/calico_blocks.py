"""Calico's blocks as routes: what a Node announces to the others, and the blackholes behind its own Pods' routes.

Source: projectcalico/calico confd's bird_ipam.cfg.template (BGP, IPIP), felix/calc/l3_route_resolver.go (VXLAN)."""

from __future__ import annotations

from ipaddress import ip_network

from emu.cluster.model import Cluster, IPNetwork, Node
from emu.memo import Memo
from emu.plan.model import NetnsKind, NetnsPlan, Route

BIRD, FELIX = "bird", "80"  # who writes the routes: `proto bird` in BGP and IPIP modes, `proto 80` in VXLAN's


def announced(cluster: Cluster) -> dict[str, tuple[IPNetwork, ...]]:
    """By Node, what the others send to it: its blocks, and the single addresses its Pods have of others' blocks."""
    single: dict[str, list[IPNetwork]] = {node.name: [] for node in cluster.nodes}
    blocks = {node.name: node.blocks for node in cluster.nodes}
    for pod in cluster.pods:
        for address in pod.addresses:
            if not any(address in block for block in blocks[pod.node]):
                single[pod.node].append(ip_network(address))
    return {name: (*blocks[name], *sorted(single[name], key=str)) for name in blocks}


def of_family(networks: tuple[IPNetwork, ...], family: int) -> tuple[IPNetwork, ...]:
    return tuple(network for network in networks if network.version == family)


def blackholes(node: Node, protocol: str) -> NetnsPlan:
    """A packet for an address of a block that no Pod has (any more) ends here, and goes in no circle between this Node
    and its default gateway. A Pod's own route is longer."""
    return _blackholes((node.name, protocol), node.name, node.blocks, protocol)


def _make_blackholes(node: str, blocks: tuple[IPNetwork, ...], protocol: str) -> NetnsPlan:
    routes = tuple(Route(dst=block, type="blackhole", protocol=protocol) for block in blocks)
    return NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, routes=routes)


_blackholes: Memo[NetnsPlan] = Memo(_make_blackholes)
