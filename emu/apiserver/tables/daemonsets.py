"""`kubectl get daemonsets`."""

from __future__ import annotations

from emu.api.objects import DaemonSet
from emu.apiserver.tables.table import (
    AGE,
    NAME,
    Cell,
    Column,
    KindTable,
    age,
    containers,
    labels,
    number,
    selector,
    wide,
)


def cells(obj: DaemonSet) -> tuple[Cell, ...]:
    status, spec = obj.status, obj.spec.template.spec
    counts = (
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.updated_number_scheduled,
        status.number_available,
    )
    return (
        obj.metadata.name,
        *counts,
        labels(spec.node_selector),
        age(obj),
        *containers(spec),
        selector(obj.spec.selector),
    )


TABLE = KindTable(
    "DaemonSet",
    (
        NAME,
        number("Desired"),
        number("Current"),
        number("Ready"),
        number("Up-to-date"),
        number("Available"),
        Column("Node Selector"),
        AGE,
        *wide("Containers", "Images", "Selector"),
    ),
    cells,
)
