"""`kubectl get nodes`."""

from __future__ import annotations

from emu.api.objects import Node
from emu.apiserver.tables.table import AGE, NAME, NONE, Cell, Column, KindTable, age, wide

ROLE_PREFIX = "node-role.kubernetes.io/"


def cells(obj: Node) -> tuple[Cell, ...]:
    info = obj.status.node_info
    shown = (obj.metadata.name, ready(obj), roles(obj), age(obj), info.kubelet_version)
    software = (info.os_image, info.kernel_version, info.container_runtime_version)
    return (*shown, address(obj, "InternalIP"), address(obj, "ExternalIP"), *(each or "<unknown>" for each in software))


def ready(obj: Node) -> str:
    """Ready, NotReady or Unknown, and whether it takes Pods."""
    state = next((each.status for each in obj.status.conditions if each.type == "Ready"), "")
    word = {"True": "Ready", "": "Unknown"}.get(state, "NotReady")
    return f"{word},SchedulingDisabled" if obj.spec.unschedulable else word


def roles(obj: Node) -> str:
    found = {key.removeprefix(ROLE_PREFIX) for key in obj.metadata.labels if key.startswith(ROLE_PREFIX)}
    found |= {value for key, value in obj.metadata.labels.items() if key == "kubernetes.io/role" and value}
    return ",".join(sorted(found - {""})) or NONE


def address(obj: Node, kind: str) -> str:
    return next((each.address for each in obj.status.addresses if each.type == kind), NONE)


TABLE = KindTable(
    "Node",
    (
        NAME,
        Column("Status"),
        Column("Roles"),
        AGE,
        Column("Version"),
        *wide("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
    ),
    cells,
)
