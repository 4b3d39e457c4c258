"""ReplicaSets → Pods `<replicaset>-<5 characters>`. Too many: the least useful goes first, in Kubernetes' order.

How many Pods a ReplicaSet has made so far stands in an annotation of it, so that a new Pod never takes the name of one
that is gone. Source: kubernetes pkg/controller/replicaset, pkg/controller/controller_utils.go (ActivePodsWithRanks).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from emu import names
from emu.api.objects import DaemonSet, KubeObject, ObjectMeta, Objects, Pod, PodSpec, ReplicaSet
from emu.api.topology import Topology
from emu.cluster.lifecycle import controlled_by, is_active, is_ready, terminated
from emu.cluster.objectmap import by_owner, changed, of_kind
from emu.cluster.passes.stamp import stamped

MADE = "kube-emu.io/pods-made"


def replicasets(topology: Topology, objects: Objects, now: str) -> Objects:
    owned = by_owner(objects, Pod)
    puts: list[KubeObject] = []
    for owner in of_kind(objects, ReplicaSet):
        active = [pod for pod in owned.get(owner.metadata.uid, ()) if is_active(pod)]
        surplus = len(active) - owner.spec.replicas
        if surplus > 0:
            puts += [terminated(pod, now) for pod in least_useful(active)[:surplus]]
        elif surplus < 0:
            puts += created(topology.seed, owner, [owner.spec.template.spec] * -surplus, objects, now)
    return changed(objects, puts)


def least_useful(active: Sequence[Pod]) -> list[Pod]:
    """Without a Node, then not running, then not ready, then from the Node with most of them, then most restarts,
    then the newest."""
    crowd = Counter(pod.spec.node_name for pod in active)
    ages = {time: age for age, time in enumerate(sorted({pod.metadata.creation_timestamp for pod in active}))}

    def rank(item: tuple[int, Pod]) -> tuple[int, ...]:
        position, pod = item
        restarts = max((status.restart_count for status in pod.status.container_statuses), default=0)
        running = pod.status.phase == "Running"
        node, age = crowd[pod.spec.node_name], ages[pod.metadata.creation_timestamp]
        return (bool(pod.spec.node_name), running, is_ready(pod), -node, -restarts, -age, -position)

    return [pod for _, pod in sorted(enumerate(active), key=rank)]


def created(
    seed: int, owner: ReplicaSet | DaemonSet, specs: Sequence[PodSpec], objects: Objects, now: str
) -> Iterator[KubeObject]:
    """New Pods, one for each spec, and the owner that has counted them."""
    made = int(owner.metadata.annotations.get(MADE, "0"))
    labels = owner.spec.template.metadata.labels
    for spec in specs:
        made, name = _next_name(seed, owner, made, objects)
        yield stamped(seed, _pod(owner, name, spec, labels), now)
    annotations = {**owner.metadata.annotations, MADE: str(made)}
    yield replace(owner, metadata=replace(owner.metadata, annotations=annotations))


def _next_name(seed: int, owner: ReplicaSet | DaemonSet, made: int, objects: Objects) -> tuple[int, str]:
    for number in count(made + 1):
        name = f"{owner.metadata.name}-{names.suffix(5, seed, owner.metadata.uid, number)}"
        if ("Pod", owner.metadata.namespace, name) not in objects:
            return number, name
    raise AssertionError("count() does not end")


def _pod(owner: ReplicaSet | DaemonSet, name: str, spec: PodSpec, labels: Mapping[str, str]) -> Pod:
    """Pods of one template share their labels, annotations and, until they are placed, their spec."""
    return Pod(
        metadata=ObjectMeta(
            namespace=owner.metadata.namespace,
            name=name,
            generate_name=f"{owner.metadata.name}-",
            labels=labels,
            annotations=owner.spec.template.metadata.annotations,
            owner_references=controlled_by(owner),
        ),
        spec=spec,
    )
