"""`expect table`: rows of `emu get -o wide`.
A cell may hold * and ? as in file names; columns that are not named may hold anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from emu.api import resources
from emu.api.resources import Resource
from emu.api.wrong import Wrong
from emu.errors import InputError
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.world import World

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectTable:
    NAME: ClassVar = "expect table"
    SHORT: ClassVar = ""
    of: str  # endpoints, deployment web
    namespace: str = "default"
    labels: str = ""  # only rows of objects with these: app=nginx
    rows: tuple[Row, ...] = ()  # each is there
    count: int | None = None  # of all rows

    def title(self) -> str:
        labels = f" with {self.labels}" if self.labels else ""
        return f"expect table of {self.of}{labels}"

    def foresee(self, world: World) -> None:
        self._target("of")
        if not self.rows and self.count is None:
            raise Wrong("has neither rows nor a count")
        if self.labels and " " in self.of.strip():
            raise Wrong("a name excludes labels", "labels", sentence=True)

    def _target(self, *field: str) -> tuple[Resource, str]:
        kind, _, name = self.of.strip().replace("/", " ").partition(" ")
        try:
            return resources.of_name(kind), name.strip()
        except InputError as error:
            raise Wrong(f"is {self.of}: {error.what}", *field, hint=error.hint) from None

    def run(self, lab: Lab) -> Said:
        resource, name = self._target()
        rows = lab.testbed.table(resource, self.namespace if resource.namespaced else "", name, self.labels)
        shown = "\n".join(table(rows))
        if self.count is not None and len(rows) != self.count:
            raise Failed(f"{self.count} rows", str(len(rows)), shown)
        for wanted in self.rows:
            if unknown := [column for column in wanted if rows and column.upper() not in rows[0]]:
                raise Failed(f"a column {unknown[0]}", ", ".join(rows[0]), shown)
            if not any(_fits(row, wanted) for row in rows):
                cells = "  ".join(f"{column.upper()} {cell}" for column, cell in wanted.items())
                raise Failed(f"a row with {cells}", _nearest(rows, wanted), shown)
        return Said(text=shown)


def _fits(row: Row, wanted: Row) -> bool:
    return all(fnmatchcase(row.get(column.upper(), ""), cell) for column, cell in wanted.items())


def _nearest(rows: Sequence[Row], wanted: Row) -> str:
    """The row of the same name, in the columns that were asked for; else how many there are."""
    named = {column.upper(): cell for column, cell in wanted.items()}
    for row in rows:
        if row.get("NAME") == named.get("NAME"):
            return "  ".join(f"{column} {row.get(column, '')}" for column in named)
    return f"none of {len(rows)} rows" if rows else "no rows"


def table(rows: Sequence[Row]) -> Iterator[str]:
    columns = list(rows[0]) if rows else []
    widths = [max(len(column), *(len(row.get(column, "")) for row in rows)) for column in columns]
    for cells in (columns, *([row.get(column, "") for column in columns] for row in rows)):
        yield "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
