"""`describe pod`."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import Objects, Pod
from emu.apiserver import duration
from emu.apiserver.describe.containers import NO_VOLUMES, containers, node_selectors
from emu.apiserver.describe.lines import NO_EVENTS, NONE, KindDescription, annotated, mapping, moment
from emu.cluster.passes.addresses import NO_SANDBOX


def lines(obj: Pod, objects: Objects) -> Iterator[str]:
    meta, spec, status = obj.metadata, obj.spec, obj.status
    yield f"Name:\t{meta.name}"
    yield f"Namespace:\t{meta.namespace}"
    if spec.priority is not None:
        yield f"Priority:\t{spec.priority}"
    if spec.priority_class_name:
        yield f"Priority Class Name:\t{spec.priority_class_name}"
    if spec.service_account_name:
        yield f"Service Account:\t{spec.service_account_name}"
    yield f"Node:\t{f'{spec.node_name}/{status.host_ip}' if spec.node_name else NONE}"
    if status.start_time:
        yield f"Start Time:\t{moment(status.start_time)}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    yield from _status(obj)
    yield f"IP:\t{status.pod_ip}"
    yield from _addresses(obj)
    for owner in meta.owner_references:
        if owner.controller:
            yield f"Controlled By:\t{owner.kind}/{owner.name}"
    if spec.init_containers:
        yield from containers("Init Containers", spec.init_containers, status.init_container_statuses, pod=meta)
    yield from containers("Containers", spec.containers, status.container_statuses, pod=meta)
    if status.conditions:
        yield "Conditions:"
        yield "  Type\tStatus"
        yield from (f"  {each.type} \t{each.status} " for each in status.conditions)
    yield NO_VOLUMES
    yield "QoS Class:\tBestEffort"  # no container asks for memory or CPU, which mean nothing here
    yield from node_selectors(spec.node_selector)
    yield from _events(obj)


def _events(obj: Pod) -> Iterator[str]:
    """No history is kept; what a Pod's sandbox lacks at present is told as a kubelet tells it."""
    failed = next((each for each in obj.status.conditions if each.reason == NO_SANDBOX), None)
    if failed is None:
        yield NO_EVENTS
        return
    yield "Events:"
    yield "  Type\tReason\tAge\tFrom\tMessage"
    yield "  ----\t------\t----\t----\t-------"
    said = " ".join(failed.message.split())
    age = duration.since(failed.last_transition_time)
    yield f"  Warning\t{failed.reason}\t{age}\tkubelet\tFailed to create pod sandbox: {said}"


def _status(obj: Pod) -> Iterator[str]:
    meta, status = obj.metadata, obj.status
    if meta.deletion_timestamp and status.phase not in ("Failed", "Succeeded"):
        yield f"Status:\tTerminating (lasts {duration.since(meta.deletion_timestamp)})"
        if meta.deletion_grace_period_seconds is not None:
            yield f"Termination Grace Period:\t{meta.deletion_grace_period_seconds}s"
    else:
        yield f"Status:\t{status.phase}"
    if status.reason:
        yield f"Reason:\t{status.reason}"
    if status.message:
        yield f"Message:\t{status.message}"


def _addresses(obj: Pod) -> Iterator[str]:
    if not obj.status.pod_ips:
        yield f"IPs:\t{NONE}"
        return
    yield "IPs:"
    yield from (f"  IP:\t{each.ip}" for each in obj.status.pod_ips)


DESCRIPTION = KindDescription("Pod", lines)
