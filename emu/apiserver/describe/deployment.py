"""`describe deployment`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emu.api.objects import Deployment, Objects, ReplicaSet
from emu.apiserver.describe.containers import template
from emu.apiserver.describe.lines import NO_EVENTS, NONE, KindDescription, annotated, conditions, mapping, moment
from emu.apiserver.tables.table import selector

HASH = "pod-template-hash"


def lines(obj: Deployment, objects: Objects) -> Iterator[str]:
    meta, spec, status = obj.metadata, obj.spec, obj.status
    yield f"Name:\t{meta.name}"
    yield f"Namespace:\t{meta.namespace}"
    yield f"CreationTimestamp:\t{moment(meta.creation_timestamp)}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    yield f"Selector:\t{selector(spec.selector)}"
    yield (
        f"Replicas:\t{spec.replicas} desired | {status.updated_replicas} updated | {status.replicas} total | "
        f"{status.available_replicas} available | {status.unavailable_replicas} unavailable"
    )
    yield from template(spec.template)
    if status.conditions:
        yield from conditions(status.conditions)
    new, old = _replica_sets(obj, objects)
    yield f"OldReplicaSets:\t{_listed(old)}"
    yield f"NewReplicaSet:\t{_listed(new)}"
    yield NO_EVENTS


def _replica_sets(obj: Deployment, objects: Objects) -> tuple[list[ReplicaSet], list[ReplicaSet]]:
    """(the one of the current template, the older ones)."""
    owned = [each for each in objects.values() if isinstance(each, ReplicaSet) and _owns(obj, each)]
    new = [each for each in owned if _of_template(each, obj)][:1]
    return new, [each for each in owned if each not in new]


def _owns(obj: Deployment, replica_set: ReplicaSet) -> bool:
    return any(owner.uid == obj.metadata.uid for owner in replica_set.metadata.owner_references)


def _of_template(replica_set: ReplicaSet, obj: Deployment) -> bool:
    own, wanted = replica_set.spec.template, obj.spec.template
    labels = {key: value for key, value in own.metadata.labels.items() if key != HASH}
    return labels == dict(wanted.metadata.labels) and own.spec == wanted.spec


def _listed(found: Sequence[ReplicaSet]) -> str:
    return ", ".join(map(_created, found)) or NONE


def _created(obj: ReplicaSet) -> str:
    return f"{obj.metadata.name} ({obj.status.replicas}/{obj.spec.replicas} replicas created)"


DESCRIPTION = KindDescription("Deployment", lines)
