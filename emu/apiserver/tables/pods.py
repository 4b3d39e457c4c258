"""`kubectl get pods`. The STATUS word is not the phase: it is what keeps the Pod from being more."""

from __future__ import annotations

from collections.abc import Iterable

from emu.api.objects import ContainerStateTerminated, ContainerStatus, Pod
from emu.apiserver import duration
from emu.apiserver.tables.table import AGE, NAME, NONE, Cell, Column, KindTable, age, wide


def cells(obj: Pod) -> tuple[Cell, ...]:
    ready = f"{ready_containers(obj)}/{len(obj.spec.containers)}"
    address = obj.status.pod_ips[0].ip if obj.status.pod_ips else obj.status.pod_ip
    placed = (address or NONE, obj.spec.node_name or NONE, NONE, NONE)
    return (obj.metadata.name, ready, status(obj), restarts(obj), age(obj), *placed)


def ready_containers(obj: Pod) -> int:
    if initializing(obj) and not _condition(obj, "Initialized"):
        return 0
    return sum(each.ready and each.state.running is not None for each in obj.status.container_statuses)


def status(obj: Pod) -> str:
    terminal = obj.status.phase in ("Succeeded", "Failed")
    if obj.metadata.deletion_timestamp and not terminal:
        return "Terminating"
    init = initializing(obj)
    if init and not _condition(obj, "Initialized"):
        return init
    return _of_containers(obj, init or obj.status.reason or obj.status.phase)


def initializing(obj: Pod) -> str:
    """`Init:0/2`, `Init:Error` … of the first init container that has not succeeded; "" when all have."""
    for index, each in enumerate(obj.status.init_container_statuses):
        state = each.state
        if state.terminated and state.terminated.exit_code == 0:
            continue
        if state.terminated:
            return f"Init:{_ended(state.terminated)}"
        if state.waiting and state.waiting.reason not in ("", "PodInitializing"):
            return f"Init:{state.waiting.reason}"
        return f"Init:{index}/{len(obj.spec.init_containers)}"
    return ""


def _of_containers(obj: Pod, otherwise: str) -> str:
    """The first container that has something to say decides."""
    statuses = obj.status.container_statuses
    word = next((said for each in statuses if (said := _said(each))), otherwise)
    if word == "Completed" and any(each.ready and each.state.running for each in statuses):
        return "Running" if _condition(obj, "Ready") else "NotReady"
    return word


def _said(container: ContainerStatus) -> str:
    state = container.state
    if state.waiting and state.waiting.reason:
        return state.waiting.reason
    return _ended(state.terminated) if state.terminated else ""


def _ended(state: ContainerStateTerminated) -> str:
    return state.reason or (f"Signal:{state.signal}" if state.signal else f"ExitCode:{state.exit_code}")


def restarts(obj: Pod) -> str:
    """`2 (5s ago)`: those of init containers while they run, then those of the others."""
    init = initializing(obj) and not _condition(obj, "Initialized")
    counted = obj.status.init_container_statuses if init else obj.status.container_statuses
    count = sum(each.restart_count for each in counted)
    last = max(_ends(counted), default="")
    return f"{count} ({duration.since(last)} ago)" if count and last else str(count)


def _ends(statuses: Iterable[ContainerStatus]) -> list[str]:
    return [each.last_state.terminated.finished_at for each in statuses if each.last_state.terminated]


def _condition(obj: Pod, name: str) -> bool:
    return any(each.type == name and each.status == "True" for each in obj.status.conditions)


TABLE = KindTable(
    "Pod",
    (
        NAME,
        Column("Ready"),
        Column("Status"),
        Column("Restarts"),
        AGE,
        *wide("IP", "Node", "Nominated Node", "Readiness Gates"),
    ),
    cells,
)
