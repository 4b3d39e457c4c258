"""A Pod's status from the statuses of its containers, in Kubernetes' words. Pure.

Source: kubernetes pkg/kubelet/kubelet_pods.go (getPhase), pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from emu.api.objects import Condition, ContainerStatus

Statuses = Sequence[ContainerStatus]


def stamp(when: float) -> str:
    """RFC 3339, whole seconds, UTC, as in every Kubernetes object."""
    return _written(int(when))


@lru_cache(maxsize=16)
def _written(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def phase(restart_policy: str, init: Statuses, main: Statuses) -> str:
    if any(_failed(status) for status in init) and restart_policy == "Never":
        return "Failed"
    if not all(_succeeded(status) for status in init) or any(_never_ran(status) for status in main):
        return "Pending"
    if any(status.state.running for status in main) or restart_policy == "Always":
        return "Running"
    if all(_succeeded(status) for status in main):
        return "Succeeded"
    return "Failed" if restart_policy == "Never" else "Running"


def conditions(
    current: str, init: Statuses, main: Statuses, old: Iterable[Condition], now: float
) -> tuple[Condition, ...]:
    """The four conditions in kubectl's order; one that keeps its status keeps its transition time."""
    waiting = [status.name for status in init if not _succeeded(status)]
    unready = [status.name for status in main if not status.ready]
    initialized, ready = _unless(waiting, "ContainersNotInitialized", "incomplete"), ("True", "", "")
    if current in ("Succeeded", "Failed"):
        reason = "PodCompleted" if current == "Succeeded" else "PodFailed"
        initialized = ("True", "PodCompleted", "") if current == "Succeeded" else initialized
        ready = ("False", reason, "")
    else:
        ready = _unless(unready, "ContainersNotReady", "unready")
    found = {"Initialized": initialized, "Ready": ready, "ContainersReady": ready, "PodScheduled": ("True", "", "")}
    before = {condition.type: condition for condition in old}
    return tuple(_condition(kind, value, before, now) for kind, value in found.items())


def _unless(names: list[str], reason: str, what: str) -> tuple[str, str, str]:
    """Go prints a list of strings as `[a b]`."""
    return ("False", reason, f"containers with {what} status: [{' '.join(names)}]") if names else ("True", "", "")


def _condition(kind: str, value: tuple[str, str, str], before: Mapping[str, Condition], now: float) -> Condition:
    status, reason, message = value
    old = before.get(kind)
    since = old.last_transition_time if old and old.status == status else stamp(now)
    return _of(kind, status, reason, message, since)


@lru_cache(maxsize=1024)
def _of(kind: str, status: str, reason: str, message: str, since: str) -> Condition:
    """Pods that started in the same second share theirs."""
    return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since)


def _succeeded(status: ContainerStatus) -> bool:
    return status.state.terminated is not None and status.state.terminated.exit_code == 0


def _failed(status: ContainerStatus) -> bool:
    return status.state.terminated is not None and status.state.terminated.exit_code != 0


def _never_ran(status: ContainerStatus) -> bool:
    return status.state.waiting is not None and status.last_state.terminated is None
