"""DaemonSets → one Pod `<daemonset>-<5 characters>` on every Node that its nodeSelector matches, cordoned ones too.

A new template replaces the Pods one Node at a time (maxUnavailable 1), unavailable ones at once; a Node's next Pod
comes when the one before is gone. Finished Pods are replaced.
Source: kubernetes pkg/controller/daemon/daemon_controller.go, update.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from emu.api.objects import DaemonSet, KubeObject, Node, Objects, Pod
from emu.api.topology import Topology
from emu.cluster.lifecycle import is_finished, is_ready, is_terminating, terminated
from emu.cluster.objectmap import by_owner, changed, of_kind
from emu.cluster.passes.deployments import template_hash
from emu.cluster.passes.replicasets import created
from emu.cluster.selectors import has_all

HASH_LABEL = "controller-revision-hash"


def daemonsets(topology: Topology, objects: Objects, now: str) -> Objects:
    sets = list(of_kind(objects, DaemonSet))
    if not sets:
        return objects
    owned = by_owner(objects, Pod)
    puts: list[KubeObject] = []
    for owner in sets:
        nodes = matching(owner, of_kind(objects, Node))
        pods = owned.get(owner.metadata.uid, [])
        puts += [terminated(pod, now) for pod in _leaving(owner, nodes, pods)]
        taken = {pod.spec.node_name for pod in pods}
        missing = [node for node in nodes if node.metadata.name not in taken]
        if missing:
            puts += _created(topology.seed, owner, missing, objects, now)
    return changed(objects, puts)


def matching(owner: DaemonSet, nodes: Iterable[Node]) -> list[Node]:
    spec = owner.spec.template.spec
    return [
        node
        for node in nodes
        if has_all(spec.node_selector, node.metadata.labels) and spec.node_name in ("", node.metadata.name)
    ]


def _created(seed: int, owner: DaemonSet, nodes: Sequence[Node], objects: Objects, now: str) -> Iterator[KubeObject]:
    spec = owner.spec.template.spec
    specs = [replace(spec, node_name=node.metadata.name) for node in nodes]
    own = {HASH_LABEL: template_hash(owner.spec.template)}
    for obj in created(seed, owner, specs, objects, now):
        if isinstance(obj, Pod):
            yield replace(obj, metadata=replace(obj.metadata, labels={**obj.metadata.labels, **own}))
        else:
            yield obj


def _leaving(owner: DaemonSet, nodes: Sequence[Node], pods: Sequence[Pod]) -> Iterator[Pod]:
    wanted = {node.metadata.name for node in nodes}
    current = template_hash(owner.spec.template)
    staying = [pod for pod in pods if not is_terminating(pod)]
    available = {pod.spec.node_name for pod in staying if is_ready(pod)}
    budget = 1 - len(wanted - available)
    for pod in staying:
        if pod.spec.node_name not in wanted or is_finished(pod):
            yield pod
        elif pod.metadata.labels.get(HASH_LABEL) != current:
            if not is_ready(pod):
                yield pod
            elif budget > 0:
                budget -= 1
                yield pod
