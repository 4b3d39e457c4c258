"""Garbage collection: what belonged to something that is gone goes too. A Pod that has a Node terminates first.

An owner is gone when its object is missing or has another uid (it was deleted and made again); a namespace when it is
missing or terminating. Source: kubernetes pkg/controller/garbagecollector, pkg/controller/namespace.
"""

from __future__ import annotations

from emu.api.objects import Key, KubeObject, Namespace, ObjectMeta, Objects, Pod, key_of
from emu.api.topology import Topology
from emu.cluster.lifecycle import PERMANENT_NAMESPACES, is_terminating, terminated
from emu.cluster.objectmap import changed, of_kind


def collect(topology: Topology, objects: Objects, now: str) -> Objects:
    """Cascades: a Deployment's ReplicaSets go, then their Pods."""
    while True:
        rest = _once(objects, now)
        if rest is objects:
            return objects
        objects = rest


def _once(objects: Objects, now: str) -> Objects:
    puts: list[KubeObject] = []
    deletes: list[Key] = []
    living = {space.metadata.name for space in of_kind(objects, Namespace) if not _is_ending(space)} | {""}
    for key, obj in objects.items():
        meta = obj.metadata
        orphaned = meta.namespace not in living or (meta.owner_references and _is_orphan(meta, objects))
        if not orphaned and not (meta.deletion_timestamp and _is_terminating_without_node(obj)):
            continue
        if isinstance(obj, Pod) and obj.spec.node_name:
            puts.append(terminated(obj, now))
        else:
            deletes.append(key)
    return changed(objects, puts, [*deletes, *_empty_namespaces(objects)])


def _is_orphan(meta: ObjectMeta, objects: Objects) -> bool:
    for ref in meta.owner_references:
        owner = objects.get((ref.kind, meta.namespace, ref.name))
        if owner is None or (ref.uid and owner.metadata.uid != ref.uid):
            return True
    return False


def _is_ending(namespace: KubeObject) -> bool:
    return is_terminating(namespace) and namespace.metadata.name not in PERMANENT_NAMESPACES


def _is_terminating_without_node(obj: KubeObject) -> bool:
    """No kubelet would ever confirm the end of a Pod that was not placed."""
    return isinstance(obj, Pod) and is_terminating(obj) and not obj.spec.node_name


def _empty_namespaces(objects: Objects) -> list[Key]:
    ending = [namespace for namespace in of_kind(objects, Namespace) if _is_ending(namespace)]
    if not ending:
        return []
    used = {obj.metadata.namespace for obj in objects.values()}
    return [key_of(namespace) for namespace in ending if namespace.metadata.name not in used]
