"""Whether a Pod is ready, may become so, or keeps failing, in words."""

from __future__ import annotations

from collections.abc import Iterable

from emu.api.objects import ContainerStatus, Objects, Pod
from emu.cluster.lifecycle import is_finished, is_ready, is_terminating
from emu.cluster.passes.addresses import NO_SANDBOX


def unready(pod: Pod) -> str:
    """Why a Pod is not ready, "" when it is or when waiting is of no use."""
    if is_terminating(pod) or is_finished(pod) or is_ready(pod) or hopeless(pod):
        return ""
    waiting = [each.state.waiting for each in _containers(pod) if each.state.waiting]
    why = "; ".join(f"{each.reason} {each.message}".strip() for each in waiting) or pod.status.phase
    return f"Pod {_name(pod)} is not ready ({why})"


def hopeless(pod: Pod) -> str:
    """Why nobody waits for a Pod: it cannot be placed, keeps failing or has failed. "" for any other."""
    if is_terminating(pod) or is_ready(pod) or not (why := _trouble(pod)):
        return ""
    where = "" if pod.metadata.namespace == "default" else f" -n {pod.metadata.namespace}"
    return f"Pod {_name(pod)} is not ready, and not waited for: {why}; emu describe pod {pod.metadata.name}{where}"


def warnings(given: Iterable[str], objects: Objects) -> list[str]:
    """The cluster's warnings and a line for each Pod that nobody waits for, which says a warning about it too."""
    lines = [text for obj in objects.values() if isinstance(obj, Pod) and (text := hopeless(obj))]
    told = (each for each in given if not any(_says(line, each) for line in lines))
    return [*told, *lines]


def _says(line: str, warning: str) -> bool:
    about, _, what = warning.partition(": ")
    return line.startswith(f"{about} ") and what in line


def _trouble(pod: Pod) -> str:
    unscheduled = next((each for each in pod.status.conditions if each.reason == "Unschedulable"), None)
    if unscheduled:
        return f"unschedulable: {unscheduled.message}"
    if unjoined := next((each for each in pod.status.conditions if each.reason == NO_SANDBOX), None):
        return f"{unjoined.reason}: {unjoined.message}"
    if pod.status.phase == "Failed":
        return "it has failed"
    for each in _containers(pod):
        if each.state.waiting and each.state.waiting.reason == "CrashLoopBackOff":
            ended = each.last_state.terminated
            how = f" ({ended.reason}, exit code {ended.exit_code})" if ended else ""
            return f"container {each.name} is in CrashLoopBackOff{how}"
    return ""


def _containers(pod: Pod) -> tuple[ContainerStatus, ...]:
    return (*pod.status.init_container_statuses, *pod.status.container_statuses)


def _name(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
