"""A trace's result back from its JSON (`emu.report.json.trace_object`): the inverse of `plain`, by type hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from emu.trace.model import TraceResult


def trace_result(document: Mapping[str, Any]) -> TraceResult:
    result: TraceResult = _reader(TraceResult)(document)
    return result


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    if is_dataclass(hint) and isinstance(hint, type):
        return _of_class(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    kinds = [each for each in get_args(hint) if each is not NoneType]
    if get_origin(hint) in (Union, UnionType):
        if set(kinds) == {IPv4Address, IPv6Address}:
            return lambda value: None if value is None else ip_address(value)
        return _optional(_reader(kinds[0]))
    if get_origin(hint) is tuple:
        each = _reader(kinds[0])
        return lambda value: tuple(map(each, value))
    return lambda value: value


def _optional(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else reader(value)


#: `plain` leaves out what is empty: so for fields that have no default.
_EMPTY: Mapping[Any, Any] = {str: "", int: 0}


def _of_class(cls: Any) -> Callable[[Any], Any]:
    readers: dict[str, tuple[Any, Callable[[Any], Any]]] = {}

    def read(value: Mapping[str, Any]) -> Any:
        if not readers:
            hints = get_type_hints(cls)
            readers.update({each.name: (hints[each.name], _reader(hints[each.name])) for each in fields(cls)})
        given = {name: reader(value[name]) for name, (_, reader) in readers.items() if name in value}
        return cls(**{**_unset(cls, readers), **given})

    return read


def _unset(cls: Any, readers: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Of the fields without a default, what stands for nothing."""
    bare = [each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING]
    return {name: _EMPTY.get(hint, () if get_origin(hint) is tuple else None)
            for name in bare for hint in [readers[name][0]]}  # fmt: skip
