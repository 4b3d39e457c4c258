"""`kubectl get replicasets`."""

from __future__ import annotations

from emu.api.objects import ReplicaSet
from emu.apiserver.tables.table import AGE, NAME, Cell, KindTable, age, containers, number, selector, wide


def cells(obj: ReplicaSet) -> tuple[Cell, ...]:
    counts = (obj.spec.replicas, obj.status.replicas, obj.status.ready_replicas)
    return (obj.metadata.name, *counts, age(obj), *containers(obj.spec.template.spec), selector(obj.spec.selector))


TABLE = KindTable(
    "ReplicaSet",
    (
        NAME,
        number("Desired"),
        number("Current"),
        number("Ready"),
        AGE,
        *wide("Containers", "Images", "Selector"),
    ),
    cells,
)
