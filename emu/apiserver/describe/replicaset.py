"""`describe replicaset`."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import Objects, ReplicaSet
from emu.apiserver.describe.containers import template
from emu.apiserver.describe.lines import NO_EVENTS, KindDescription, annotated, mapping
from emu.apiserver.describe.podcounts import pods_status
from emu.apiserver.tables.table import selector


def lines(obj: ReplicaSet, objects: Objects) -> Iterator[str]:
    meta, spec = obj.metadata, obj.spec
    yield f"Name:\t{meta.name}"
    yield f"Namespace:\t{meta.namespace}"
    yield f"Selector:\t{selector(spec.selector)}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    for owner in meta.owner_references:
        if owner.controller:
            yield f"Controlled By:\t{owner.kind}/{owner.name}"
    yield f"Replicas:\t{obj.status.replicas} current / {spec.replicas} desired"
    yield f"Pods Status:\t{pods_status(obj, objects)}"
    yield from template(spec.template)
    yield NO_EVENTS


DESCRIPTION = KindDescription("ReplicaSet", lines)
