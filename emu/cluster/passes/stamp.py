"""Every object gets what the API server would have stamped on it: uid, creation time, generation, a Namespace's own
label. A namespaced object of a namespace that does not exist is refused, as the API server does."""

from __future__ import annotations

from dataclasses import replace

from emu import names
from emu.api.objects import DaemonSet, Deployment, KubeObject, Namespace, ObjectMeta, Objects, ReplicaSet
from emu.api.topology import Topology
from emu.cluster.objectmap import Kind, changed, subject
from emu.errors import InputError

WITH_GENERATION = (Deployment, ReplicaSet, DaemonSet)
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def stamp(topology: Topology, objects: Objects, now: str) -> Objects:
    new = [obj for obj in objects.values() if not (obj.metadata.uid and obj.metadata.creation_timestamp)]
    for obj in new:
        _check_namespace(obj, objects)
    return changed(objects, (stamped(topology.seed, obj, now) for obj in new))


def stamped(seed: int, obj: Kind, now: str) -> Kind:
    meta = obj.metadata
    meta = replace(
        meta,
        uid=meta.uid or names.uid(seed, obj.KIND, meta.namespace, meta.name),
        creation_timestamp=meta.creation_timestamp or now,
        generation=meta.generation or int(isinstance(obj, WITH_GENERATION)),
    )
    return replace(obj, metadata=_labelled(meta) if isinstance(obj, Namespace) else meta)


def _labelled(meta: ObjectMeta) -> ObjectMeta:
    return replace(meta, labels={NAMESPACE_LABEL: meta.name, **meta.labels})


def _check_namespace(obj: KubeObject, objects: Objects) -> None:
    """Only what is new: objects whose namespace went away are collected."""
    namespace = obj.metadata.namespace
    if namespace and ("Namespace", "", namespace) not in objects and not obj.metadata.creation_timestamp:
        raise InputError(
            f"namespace {namespace} does not exist", subject=subject(obj), hint=f"add a Namespace named {namespace}"
        )
