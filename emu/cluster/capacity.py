"""Whether the ranges hold what the manifests ask for, with the arithmetic; asked before a cluster is brought up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from emu.api.objects import DaemonSet, Deployment, Objects, Pod, ReplicaSet
from emu.api.topology import Topology
from emu.cluster import ipam
from emu.cluster.nodes import nodes
from emu.cluster.objectmap import of_kind, subject
from emu.cluster.passes.addresses import CONDITION, NO_SANDBOX
from emu.errors import PlanError


def check_totals(topology: Topology, objects: Objects) -> None:
    """Before anything is made of the manifests: all Pods against all Nodes."""
    wanted = dict(_wanted(topology, objects))
    total = sum(wanted.values())
    kind = ipam.of(topology)
    for holds, arithmetic in kind.totals(topology):
        if total > holds:
            asked = ", ".join(f"{name} {number}" for name, number in wanted.items() if number)
            raise PlanError(f"{arithmetic}, the manifests ask for {total}: {asked}", hint=kind.HINT)


def pods(topology: Topology, objects: Objects) -> int:
    """How many the manifests ask for, controllers' and the cluster's own with them."""
    return sum(number for _, number in _wanted(topology, objects))


def _wanted(topology: Topology, objects: Objects) -> Iterator[tuple[str, int]]:
    system = ("Deployment", "kube-system", "coredns")
    if system not in objects:
        yield "Deployment kube-system/coredns", topology.dns.replicas
    for deployment in of_kind(objects, Deployment):
        yield subject(deployment), deployment.spec.replicas
    for replica_set in of_kind(objects, ReplicaSet):
        yield subject(replica_set), replica_set.spec.replicas
    for daemon in of_kind(objects, DaemonSet):
        yield subject(daemon), len(topology.nodes)
    yield "Pods of their own", sum(1 for _ in of_kind(objects, Pod))


def check_nodes(topology: Topology, objects: Objects) -> None:
    """After every Pod has its Node: each Node's own range."""
    without = Counter(pod.spec.node_name for pod in of_kind(objects, Pod) if _has_no_address(pod))
    for node in nodes(topology):
        if without[node.name]:
            placed = sum(pod.spec.node_name == node.name for pod in of_kind(objects, Pod))
            kind = ipam.of(topology)
            room = kind.room(topology, node)
            raise PlanError(
                f"node {node.name}: {placed} Pods are to run there, {room}: {without[node.name]} Pods get no address",
                hint=kind.HINT,
            )


def _has_no_address(pod: Pod) -> bool:
    return any((condition.type, condition.reason) == (CONDITION, NO_SANDBOX) for condition in pod.status.conditions)
