"""What a table of one kind is made of, and the cells several kinds share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emu.api.objects import KubeObject, LabelSelector, LabelSelectorRequirement, PodSpec
from emu.apiserver import duration

NONE = "<none>"
Cell = str | int


@dataclass(frozen=True, slots=True)
class Column:
    """`priority` 1 is for `-o wide` only."""

    name: str
    priority: int = 0
    type: str = "string"
    format: str = ""


@dataclass(frozen=True, slots=True)
class KindTable:
    kind: str
    columns: tuple[Column, ...]
    cells: Callable[[Any], Sequence[Cell]]


NAME = Column("Name", format="name")
AGE = Column("Age")


def number(name: str) -> Column:
    return Column(name, type="integer", format="int32")


def wide(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, priority=1) for name in names)


def age(obj: KubeObject) -> str:
    return duration.since(obj.metadata.creation_timestamp)


def labels(values: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={values[key]}" for key in sorted(values)) if values else NONE


def selector(value: LabelSelector) -> str:
    """As `metav1.FormatLabelSelector` prints it: by key."""
    parts = [(key, f"{key}={one}") for key, one in value.match_labels.items()]
    parts += [(each.key, _requirement(each)) for each in value.match_expressions]
    return ",".join(text for _, text in sorted(parts)) or NONE


def _requirement(value: LabelSelectorRequirement) -> str:
    if value.operator in ("Exists", "DoesNotExist"):
        return f"{'!' if value.operator == 'DoesNotExist' else ''}{value.key}"
    return f"{value.key} {value.operator.lower()} ({','.join(sorted(value.values))})"


def containers(spec: PodSpec) -> tuple[str, str]:
    """Names and images."""
    return ",".join(each.name for each in spec.containers), ",".join(each.image for each in spec.containers)
