"""`describe daemonset`."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import DaemonSet, Objects
from emu.apiserver.describe.containers import template
from emu.apiserver.describe.lines import NO_EVENTS, KindDescription, annotated, mapping
from emu.apiserver.describe.podcounts import pods_status
from emu.apiserver.tables.table import labels, selector


def lines(obj: DaemonSet, objects: Objects) -> Iterator[str]:
    meta, spec, status = obj.metadata, obj.spec, obj.status
    yield f"Name:\t{meta.name}"
    yield f"Selector:\t{selector(spec.selector)}"
    yield f"Node-Selector:\t{labels(spec.template.spec.node_selector)}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    yield f"Desired Number of Nodes Scheduled: {status.desired_number_scheduled}"
    yield f"Current Number of Nodes Scheduled: {status.current_number_scheduled}"
    yield f"Number of Nodes Scheduled with Up-to-date Pods: {status.updated_number_scheduled}"
    yield f"Number of Nodes Scheduled with Available Pods: {status.number_available}"
    yield f"Number of Nodes Misscheduled: {status.number_misscheduled}"
    yield f"Pods Status:\t{pods_status(obj, objects)}"
    yield from template(spec.template)
    yield NO_EVENTS


DESCRIPTION = KindDescription("DaemonSet", lines)
