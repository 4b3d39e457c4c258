"""Status of what owns Pods: the counters and conditions `get` shows, counted from the Pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emu.api.objects import (
    Condition,
    DaemonSet,
    DaemonSetStatus,
    Deployment,
    DeploymentStatus,
    KubeObject,
    Node,
    Objects,
    Pod,
    ReplicaSet,
    ReplicaSetStatus,
)
from emu.api.topology import Topology
from emu.cluster.lifecycle import is_active, is_ready, with_condition
from emu.cluster.objectmap import by_owner, changed, of_kind
from emu.cluster.passes.daemonsets import HASH_LABEL, matching
from emu.cluster.passes.deployments import template_hash
from emu.memo import by_identity


def status(topology: Topology, objects: Objects, now: str) -> Objects:
    pods = by_owner(objects, Pod)
    sets = by_owner(objects, ReplicaSet)
    nodes = tuple(of_kind(objects, Node))
    puts: list[KubeObject] = []
    for owner in of_kind(objects, ReplicaSet):
        mine = pods.get(owner.metadata.uid, ())
        if not _is_current(owner, *mine):
            puts.append(_counted(owner, mine, now))
    for deployment in of_kind(objects, Deployment):
        owned = sets.get(deployment.metadata.uid, ())
        parts = [part for each in owned for part in (each, *pods.get(each.metadata.uid, ()))]
        if not _is_current(deployment, *parts):
            puts.append(_counted(deployment, parts, now))
    for daemon in of_kind(objects, DaemonSet):
        active = [pod for pod in pods.get(daemon.metadata.uid, ()) if is_active(pod)]
        puts.append(_with(daemon, _daemon_set(daemon, nodes, active)))
    return changed(objects, puts)


def _counted(owner: ReplicaSet | Deployment, parts: Sequence[ReplicaSet | Pod], now: str) -> KubeObject:
    """`parts`: of a ReplicaSet its Pods, of a Deployment each ReplicaSet and the Pods of it."""
    if isinstance(owner, ReplicaSet):
        return _with(owner, _replica_set(owner, [each for each in parts if isinstance(each, Pod) and is_active(each)]))
    owned: list[tuple[ReplicaSet, list[Pod]]] = []
    for each in parts:
        if isinstance(each, ReplicaSet):
            owned.append((each, []))
        elif is_active(each):
            owned[-1][1].append(each)
    return _with(owner, _deployment(owner, owned, now))


@by_identity
def _is_current(owner: ReplicaSet | Deployment, *parts: ReplicaSet | Pod) -> bool:
    """Whether its status says what they are; the time matters to one that changes only."""
    return _counted(owner, parts, "") is owner


def _with(obj: KubeObject, new: object) -> KubeObject:
    return obj if obj.status == new else replace(obj, status=new)  # type: ignore[union-attr,arg-type]


@by_identity
def _ready(*pods: Pod) -> int:
    return sum(map(is_ready, pods))


def _replica_set(owner: ReplicaSet, pods: Sequence[Pod]) -> ReplicaSetStatus:
    return ReplicaSetStatus(
        observed_generation=owner.metadata.generation,
        replicas=len(pods),
        fully_labeled_replicas=len(pods),
        ready_replicas=_ready(*pods),
        available_replicas=_ready(*pods),
    )


def _deployment(owner: Deployment, owned: Sequence[tuple[ReplicaSet, list[Pod]]], now: str) -> DeploymentStatus:
    current = f"{owner.metadata.name}-{template_hash(owner.spec.template)}"
    updated = [pod for each, pods in owned if each.metadata.name == current for pod in pods]
    everything = [pod for _, pods in owned for pod in pods]
    ready, wanted = _ready(*everything), owner.spec.replicas
    conditions = with_condition(owner.status.conditions, _available(ready >= wanted - wanted // 4, now))
    complete = len(updated) == len(everything) == wanted and _ready(*updated) == wanted
    return DeploymentStatus(
        observed_generation=owner.metadata.generation,
        replicas=len(everything),
        updated_replicas=len(updated),
        ready_replicas=ready,
        available_replicas=ready,
        unavailable_replicas=max(0, max(wanted, len(everything)) - ready),
        conditions=with_condition(conditions, _progressing(current, complete, now)),
    )


def _available(enough: bool, now: str) -> Condition:
    state, verb = ("Available", "has") if enough else ("Unavailable", "does not have")
    return Condition(
        type="Available",
        status=str(enough),
        reason=f"MinimumReplicas{state}",
        message=f"Deployment {verb} minimum availability.",
        last_transition_time=now,
    )


def _progressing(replica_set: str, complete: bool, now: str) -> Condition:
    return Condition(
        type="Progressing",
        status="True",
        reason="NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
        message=f'ReplicaSet "{replica_set}" {"has successfully progressed" if complete else "is progressing"}.',
        last_transition_time=now,
    )


def _daemon_set(owner: DaemonSet, nodes: Sequence[Node], pods: Sequence[Pod]) -> DaemonSetStatus:
    wanted = {node.metadata.name for node in matching(owner, nodes)}
    right = [pod for pod in pods if pod.spec.node_name in wanted]
    current = template_hash(owner.spec.template)
    return DaemonSetStatus(
        observed_generation=owner.metadata.generation,
        desired_number_scheduled=len(wanted),
        current_number_scheduled=len(right),
        number_misscheduled=len(pods) - len(right),
        number_ready=_ready(*right),
        number_available=_ready(*right),
        updated_number_scheduled=sum(pod.metadata.labels.get(HASH_LABEL) == current for pod in right),
    )
