"""Trace results as JSON: the model's own field names, addresses and enums as text, empty fields left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from emu.trace.model import TraceResult

_KEPT = frozenset({"ok", "matched", "probability"})  # said even when 0, false or null


def trace_json(result: TraceResult) -> str:
    return json.dumps(trace_object(result), indent=2, ensure_ascii=False) + "\n"


def traces_json(results: Sequence[TraceResult]) -> str:
    """All results of a run, and whether every path was as predicted."""
    whole = {"ok": all(result.ok for result in results), "results": [trace_object(result) for result in results]}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def trace_object(result: TraceResult) -> dict[str, Any]:
    return {"ok": result.ok, **plain(result)}


def plain(value: Any) -> Any:
    """A value of the model as dicts, lists, strings and numbers."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, plain(getattr(value, field.name))) for field in fields(value))
        return {name: each for name, each in pairs if name in _KEPT or each not in (None, "", [], {}, 0)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value if isinstance(value, str | int | float | None) else str(value)
