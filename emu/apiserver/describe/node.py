"""`describe node`: with the Pods on it."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import Node, Objects, Pod
from emu.apiserver import duration
from emu.apiserver.describe.lines import NO_EVENTS, KindDescription, annotated, mapping, moment
from emu.apiserver.tables.nodes import roles


def lines(obj: Node, objects: Objects) -> Iterator[str]:
    meta, spec, status = obj.metadata, obj.spec, obj.status
    yield f"Name:\t{meta.name}"
    yield f"Roles:\t{roles(obj)}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    yield f"CreationTimestamp:\t{moment(meta.creation_timestamp)}"
    yield f"Unschedulable:\t{str(spec.unschedulable).lower()}"
    if status.conditions:
        yield "Conditions:"
        yield "  Type\tStatus\tLastTransitionTime\tReason\tMessage"
        yield "  ----\t------\t------------------\t------\t-------"
        for each in status.conditions:
            yield "\t".join(
                (f"  {each.type}", each.status, moment(each.last_transition_time), each.reason, each.message)
            )
    yield "Addresses:"
    yield from (f"  {each.type}:\t{each.address}" for each in status.addresses)
    yield from _system(obj)
    yield from (f"{title}:\t{value}" for title, value in _ranges(obj))
    yield from _pods(obj, objects)
    yield NO_EVENTS


def _system(obj: Node) -> Iterator[str]:
    info = obj.status.node_info
    yield "System Info:"
    yield f"  Kernel Version:\t{info.kernel_version}"
    yield f"  OS Image:\t{info.os_image}"
    yield f"  Architecture:\t{info.architecture}"
    yield f"  Container Runtime Version:\t{info.container_runtime_version}"
    yield f"  Kubelet Version:\t{info.kubelet_version}"


def _ranges(obj: Node) -> Iterator[tuple[str, str]]:
    if obj.spec.pod_cidr:
        yield "PodCIDR", obj.spec.pod_cidr
    if obj.spec.pod_cidrs:
        yield "PodCIDRs", ",".join(obj.spec.pod_cidrs)


def _pods(obj: Node, objects: Objects) -> Iterator[str]:
    found = [each for each in objects.values() if isinstance(each, Pod)]
    found = [
        each
        for each in found
        if each.spec.node_name == obj.metadata.name and each.status.phase not in ("Succeeded", "Failed")
    ]
    yield f"Non-terminated Pods:\t({len(found)} in total)"
    yield "  Namespace\tName\t\tAge"
    yield "  ---------\t----\t\t---"
    for pod in sorted(found, key=lambda each: (each.metadata.namespace, each.metadata.name)):
        meta = pod.metadata
        yield f"  {meta.namespace}\t{meta.name}\t\t{duration.since(meta.creation_timestamp)}"


DESCRIPTION = KindDescription("Node", lines)
