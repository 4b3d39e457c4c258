"""`kubectl get deployments`."""

from __future__ import annotations

from emu.api.objects import Deployment
from emu.apiserver.tables.table import AGE, NAME, Cell, Column, KindTable, age, containers, number, selector, wide


def cells(obj: Deployment) -> tuple[Cell, ...]:
    status = obj.status
    counts = (f"{status.ready_replicas}/{obj.spec.replicas}", status.updated_replicas, status.available_replicas)
    return (obj.metadata.name, *counts, age(obj), *containers(obj.spec.template.spec), selector(obj.spec.selector))


TABLE = KindTable(
    "Deployment",
    (
        NAME,
        Column("Ready"),
        number("Up-to-date"),
        number("Available"),
        AGE,
        *wide("Containers", "Images", "Selector"),
    ),
    cells,
)
