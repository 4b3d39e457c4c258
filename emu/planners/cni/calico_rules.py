"""Felix's rules and sets for every Node, whatever the mode: calico_chains, calico_endpoints and calico_sets together.

Left out: cali-failsafe-in and -out, which Felix keeps out of the kernel too as long as no host endpoint uses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emu.cluster.model import Cluster
from emu.memo import Memo
from emu.netfilter.model import IpSet
from emu.plan.merge import Fragment, Rules
from emu.plan.model import NetnsKind, NetnsPlan
from emu.planners.cni.calico_chains import end, static
from emu.planners.cni.calico_endpoints import endpoints
from emu.planners.cni.calico_sets import Tunnel, sets

__all__ = ["Tunnel", "plan"]


def plan(cluster: Cluster, tunnels: Mapping[int, Tunnel], *, pools: bool = True) -> Iterator[Fragment]:
    """`tunnels` by family; none where packets go between Nodes as they are. `pools`: whether the addresses are of
    Calico's IPAM, so that Felix knows what is outside and masquerades it."""
    pods: dict[str, list[tuple[str, str]]] = {node.name: [] for node in cluster.nodes}
    for pod in cluster.pods:
        pods[pod.node].append((pod.namespace, pod.name))
    for network in cluster.pod_ranges:
        family = network.version
        tunnel = tunnels.get(family)
        for node in cluster.nodes:
            key = (cluster.name, node.name, family)
            yield _sets(key, node.name, tuple(sets(cluster, node, family, tunnel, network if pools else None)))
            yield Rules(node.name, static((family, tunnel, pools), family, tunnel, pools and family == 4))
            yield Rules(node.name, endpoints(key, family, tuple(pods[node.name])))
            yield Rules(node.name, end(family, family))


def _make_sets(node: str, made: tuple[IpSet, ...]) -> NetnsPlan:
    return NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, sets=made)


_sets: Memo[NetnsPlan] = Memo(_make_sets)
