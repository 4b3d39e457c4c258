"""Cluster → Plan. Each planner gives fragments of netns plans; `plan.merge` puts them together."""

from __future__ import annotations

from collections.abc import Iterator

from emu.cluster.model import Cluster
from emu.plan.merge import Fragment, merge
from emu.plan.model import Plan
from emu.planners import cni, dns, kubelet, pods, proxy, underlay

__all__ = ["build"]


def build(cluster: Cluster) -> Plan:
    """The wanted kernel state. Pure; what did not change since the last call is the same object."""
    return Plan(
        name=cluster.name,
        seed=cluster.seed,
        netns=merge(_fragments(cluster)),
        zone=dns.zone(cluster),
        iptables=cluster.topology.iptables,
        notes=(*cluster.warnings, *underlay.notes(cluster)),
    )


def _fragments(cluster: Cluster) -> Iterator[Fragment]:
    """In the order links are made and routes written: the ground first."""
    yield from underlay.plan(cluster)
    yield from cni.mode(cluster.topology.cni.mode).plan(cluster)
    yield from kubelet.plan(cluster)
    yield from proxy.mode(cluster.topology.proxy.mode).plan(cluster)
    yield from pods.plan(cluster)
