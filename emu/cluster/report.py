"""A kubelet's report of a Pod → the Pod's status: what resolve has decided (addresses, Node, scheduling) stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from emu.api.objects import Condition, Pod, PodStatus
from emu.cluster.lifecycle import with_condition
from emu.cluster.model import IPAddress
from emu.cluster.passes.addresses import with_addresses

DECIDED = ("host_ip", "pod_ip", "pod_ips", "start_time")


def reported(status: PodStatus, report: PodStatus) -> PodStatus:
    """`status` itself when the report says nothing new. Conditions are joined by type; one whose status did not change
    keeps its time."""
    conditions = status.conditions
    for condition in report.conditions:
        conditions = with_condition(conditions, condition)
    merged = replace(
        report,
        conditions=_in_order(conditions),
        **{name: getattr(status, name) or getattr(report, name) for name in DECIDED},
    )
    return status if merged == status else merged


def joined(pod: Pod, addresses: Iterable[IPAddress], families: Sequence[int], now: str) -> Pod:
    """A Pod that was given its addresses by who joined it to the network: the cluster's first family first. One that
    has some keeps them."""
    if pod.status.pod_ip:
        return pod
    ordered = sorted(addresses, key=lambda address: families.index(address.version))
    return with_addresses(pod, tuple(ordered), now)


def _in_order(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(sorted(conditions, key=lambda condition: _ORDER.get(condition.type, len(_ORDER))))


_ORDER = {
    name: place
    for place, name in enumerate(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    )
}
