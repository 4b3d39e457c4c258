"""`kubectl get namespaces`."""

from __future__ import annotations

from emu.api.objects import Namespace
from emu.apiserver.tables.table import AGE, NAME, Cell, Column, KindTable, age


def cells(obj: Namespace) -> tuple[Cell, ...]:
    return obj.metadata.name, obj.status.phase, age(obj)


TABLE = KindTable("Namespace", (NAME, Column("Status"), AGE), cells)
