"""Cluster → Plan. Each planner gives fragments of netns plans; `plan.merge` puts them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster.model import Cluster
from emu.plan.merge import Fragment, merge
from emu.plan.model import Foreign, Plan
from emu.planners import cni, dns, foreign, kubelet, pods, proxy, underlay

__all__ = ["build", "check"]


def check(topology: Topology) -> None:
    """Raises Wrong, at the field of the topology file, for a mode that there is not and for what one does not take."""
    cni.check(topology)
    proxy.check(topology)


def build(cluster: Cluster, found: Mapping[str, Foreign] = MappingProxyType({})) -> Plan:
    """The wanted kernel state. Pure; what did not change since the last call is the same object. `found`: what others
    have made, by netns, as it was reported."""
    try:
        check(cluster.topology)
    except Wrong as wrong:
        raise wrong.located(None) from None
    return Plan(
        name=cluster.name,
        seed=cluster.seed,
        netns=merge((*_fragments(cluster), *foreign.plan(cluster, found))),
        zone=dns.zone(cluster),
        iptables=cluster.topology.iptables,
        notes=(*cluster.warnings, *underlay.notes(cluster), *cni.notes(cluster)),
    )


def _fragments(cluster: Cluster) -> Iterator[Fragment]:
    """In the order links are made and routes written: the ground first."""
    yield from underlay.plan(cluster)
    yield from cni.mode(cluster.topology.cni.mode).plan(cluster)
    yield from kubelet.plan(cluster)
    yield from proxy.mode(cluster.topology.proxy.mode).plan(cluster)
    yield from pods.plan(cluster)
