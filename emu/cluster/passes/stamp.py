"""Every object gets what the API server would have stamped on it: uid, creation time, generation, a Namespace's own
label, a Pod's account and priority (admission plugins ServiceAccount and Priority). A namespaced object of a namespace
that does not exist is refused, as the API server does."""

from __future__ import annotations

from dataclasses import replace

from emu import names
from emu.api.objects import DaemonSet, Deployment, KubeObject, Namespace, ObjectMeta, Objects, Pod, PodSpec, ReplicaSet
from emu.api.topology import Topology
from emu.cluster.objectmap import Kind, changed, subject
from emu.errors import InputError
from emu.memo import by_identity

WITH_GENERATION = (Deployment, ReplicaSet, DaemonSet)
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
#: Of the classes that every cluster has. Source: kubernetes pkg/apis/scheduling.
PRIORITIES = {"": 0, "system-cluster-critical": 2000000000, "system-node-critical": 2000001000}


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
    if isinstance(obj, Pod):
        return replace(obj, metadata=meta, spec=_admitted(obj.spec))
    return replace(obj, metadata=_labelled(meta) if isinstance(obj, Namespace) else meta)


@by_identity
def _admitted(spec: PodSpec) -> PodSpec:
    """The priority of a class that only the user knows stays unknown."""
    known = PRIORITIES.get(spec.priority_class_name) if spec.priority is None else spec.priority
    return replace(spec, service_account_name=spec.service_account_name or "default", priority=known)


def _labelled(meta: ObjectMeta) -> ObjectMeta:
    return replace(meta, labels={NAMESPACE_LABEL: meta.name, **meta.labels})


def _check_namespace(obj: KubeObject, objects: Objects) -> None:
    """Only what is new: objects whose namespace went away are collected."""
    namespace = obj.metadata.namespace
    if namespace and ("Namespace", "", namespace) not in objects and not obj.metadata.creation_timestamp:
        raise InputError(
            f"namespace {namespace} does not exist", subject=subject(obj), hint=f"add a Namespace named {namespace}"
        )
