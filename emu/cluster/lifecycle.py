"""Where an object stands between creation and removal, and how deletion is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from emu.api.objects import (
    Condition,
    DaemonSet,
    Deployment,
    Key,
    KubeObject,
    Namespace,
    Node,
    NodeSystemInfo,
    ObjectMeta,
    Objects,
    OwnerReference,
    Pod,
    ReplicaSet,
)
from emu.errors import InputError

#: The API server refuses the first three; the lease namespace it would make again at once.
PERMANENT_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
FINISHED = ("Succeeded", "Failed")


def is_finished(pod: Pod) -> bool:
    return pod.status.phase in FINISHED


def is_terminating(obj: KubeObject) -> bool:
    return bool(obj.metadata.deletion_timestamp)


def is_active(pod: Pod) -> bool:
    """Counts as a replica: neither finished nor on its way out."""
    return not (pod.metadata.deletion_timestamp or pod.status.phase in FINISHED)


def is_ready(pod: Pod) -> bool:
    for condition in pod.status.conditions:
        if condition.type == "Ready":
            return condition.status == "True"
    return False


def with_condition(conditions: tuple[Condition, ...], new: Condition) -> tuple[Condition, ...]:
    """The conditions with `new` in its place; the same tuple when it says nothing new. The time of the last
    transition moves only when the status does."""
    old = next((condition for condition in conditions if condition.type == new.type), None)
    if old is None:
        return (*conditions, new)
    if old.status == new.status:
        new = replace(new, last_transition_time=old.last_transition_time)
    return conditions if new == old else tuple(new if condition is old else condition for condition in conditions)


def with_network(node: Node, ended: Mapping[str, str], now: str) -> Node:
    """A Node with daemons, and the condition that says whether they run. `ended`: how some have ended, by name."""
    words = "; ".join(f"{name}: {how}" for name, how in ended.items())
    condition = Condition(
        type="NetworkUnavailable",
        status="True" if ended else "False",
        reason="DaemonEnded" if ended else "DaemonsRun",
        message=words or "the daemons of the network run on this node",
        last_transition_time=now,
    )
    conditions = with_condition(node.status.conditions, condition)
    return replace(node, status=replace(node.status, conditions=conditions))


def with_system(node: Node, system: NodeSystemInfo) -> Node:
    """A Node that says what it runs on: it is known to the machine alone, and nothing is decided by it."""
    kubelet = node.status.node_info.kubelet_version
    info = replace(system, kubelet_version=kubelet)
    return node if node.status.node_info == info else replace(node, status=replace(node.status, node_info=info))


def controlled_by(owner: Deployment | ReplicaSet | DaemonSet) -> tuple[OwnerReference, ...]:
    return (
        OwnerReference(
            api_version=owner.API_VERSION, kind=owner.KIND, name=owner.metadata.name, uid=owner.metadata.uid
        ),
    )


def later(now: str, seconds: int) -> str:
    """RFC 3339 in, RFC 3339 out, in whole seconds as Kubernetes writes times."""
    moment = datetime.fromisoformat(now) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def terminated(pod: Pod, now: str, grace_s: int | None = None) -> Pod:
    """The Pod on its way out: `deletionTimestamp` is when its grace period ends, as in Kubernetes. What already
    terminates keeps its time."""
    if is_terminating(pod):
        return pod
    grace_s = pod.spec.termination_grace_period_seconds if grace_s is None else grace_s
    meta = replace(pod.metadata, deletion_timestamp=later(now, grace_s), deletion_grace_period_seconds=grace_s)
    return replace(pod, metadata=meta)


def delete(
    objects: Objects, keys: Iterable[Key], now: str, grace_s: int | None = None
) -> tuple[list[KubeObject], list[Key]]:
    """(puts, deletes) that carry out a deletion. A Pod that runs on a Node terminates first, and a Namespace until
    it is empty; anything else goes at once, and what it owned is collected by the next resolve."""
    puts: list[KubeObject] = []
    deletes: list[Key] = []
    for key in keys:
        match objects.get(key):
            case None:
                continue
            case Node(metadata=meta):
                what = "Nodes are made from the topology and may not be deleted"
                raise InputError(what, subject=f"Node {meta.name}", hint="take it out of the topology, then emu up")
            case Pod() as pod if pod.spec.node_name:
                puts.append(terminated(pod, now, grace_s))
            case Namespace(metadata=meta) as namespace:
                if meta.name in PERMANENT_NAMESPACES:
                    raise InputError("this namespace may not be deleted", subject=f"Namespace {meta.name}")
                puts.append(_terminating_namespace(namespace, meta, now))
            case _:
                deletes.append(key)
    return puts, deletes


def _terminating_namespace(namespace: Namespace, meta: ObjectMeta, now: str) -> Namespace:
    status = replace(namespace.status, phase="Terminating")
    return replace(namespace, metadata=replace(meta, deletion_timestamp=meta.deletion_timestamp or now), status=status)
