"""How describe lays out its lines: tab-separated cells, aligned over the lines that follow each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emu.api.objects import Condition, Objects
from emu.apiserver.duration import epoch

PADDING = 2
NONE = "<none>"

#: Nothing here keeps events; kubectl says so of every kind but Namespaces.
NO_EVENTS = f"Events:\t{NONE}"

Lines = list[str]


@dataclass(frozen=True, slots=True)
class KindDescription:
    """`lines` have tabs between their cells."""

    kind: str
    lines: Callable[[Any, Objects], Iterable[str]]

    def text(self, obj: Any, objects: Objects) -> str:
        return align(self.lines(obj, objects))


def align(lines: Iterable[str]) -> str:
    """Elastic tabs, as Go's text/tabwriter: a column is as wide as its widest cell among the lines, one after the
    other, that have it; the text behind the last tab is in no column."""
    rows = [line.split("\t") for line in lines]
    widths = [[0] * (len(row) - 1) for row in rows]
    for column in range(max(map(len, widths), default=0)):
        start = 0
        while start < len(rows):
            end = start
            while end < len(rows) and len(widths[end]) > column:
                end += 1
            block = max((len(row[column]) + PADDING for row in rows[start:end]), default=0)
            for index in range(start, end):
                widths[index][column] = block
            start = max(end, start + 1)
    padded = (
        "".join(cell.ljust(width) for cell, width in zip(row, each, strict=False)) + row[-1]
        for row, each in zip(rows, widths, strict=True)
    )
    return "".join(f"{line}\n" for line in padded)


def mapping(title: str, values: Mapping[str, str] | None, joint: str = "=") -> Lines:
    """`Labels:` and one line each, in the order of the keys."""
    found = [f"{key}{joint}{(values or {})[key]}" for key in sorted(values or {})] or [NONE]
    return [f"{title}:\t{found[0]}", *(f"\t{each}" for each in found[1:])]


def annotated(values: Mapping[str, str] | None) -> Lines:
    return mapping("Annotations", values, ": ")


def moment(timestamp: str) -> str:
    """`Fri, 20 Nov 2026 19:00:19 +0000`."""
    if not timestamp:
        return "<unknown>"
    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch(timestamp)))


def conditions(found: Sequence[Condition]) -> Lines:
    """Type and status; those of Deployments say why."""
    return ["Conditions:", "  Type\tStatus\tReason", "  ----\t------\t------"] + [
        f"  {each.type} \t{each.status}\t{each.reason}" for each in found
    ]
