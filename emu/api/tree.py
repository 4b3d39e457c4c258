"""YAML text as plain values that remember their lines.

Scalars are read as kubectl reads them (YAML 1.1, but a timestamp or `12:30` stays text). `Map` and `Seq` are dict and
list with `line` and `lines` beside them, so the same decoder reads YAML and the JSON of the API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from emu.errors import InputError, Place

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
DEEPEST = 100  # levels of nesting; a Pod template has about ten
_TRUE = frozenset({"true", "yes", "on"})


class Map(dict[str, Any]):
    """A mapping. `lines` has the line of each key, `line` that of the first."""

    __slots__ = ("line", "lines")
    line: int
    lines: dict[str, int]


class Seq(list[Any]):
    """A sequence. `lines` has the line of each item."""

    __slots__ = ("line", "lines")
    line: int
    lines: list[int]


def documents(text: str, file: str) -> Iterator[Any]:
    """Every document of the text that is not empty."""
    try:
        loader = _Loader(text)
        while loader.check_event():
            if isinstance(loader.get_event(), yaml.DocumentStartEvent):
                value = _Builder(file, loader).build(loader.get_event(), 0)
                if value is not None:
                    yield value
    except yaml.MarkedYAMLError as error:
        raise _broken(error, file) from None
    except yaml.reader.ReaderError as error:
        raise InputError(f"not text: {error.reason}", place=Place(file, _line_at(text, error.position))) from None


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _broken(error: yaml.MarkedYAMLError, file: str) -> InputError:
    mark = error.problem_mark or error.context_mark
    context = f" {error.context}" if error.context else ""
    hint = "YAML is indented by spaces, not tabs" if "\\t" in str(error.problem) else ""
    place = Place(file, mark.line + 1) if mark else Place(file)
    return InputError(f"broken YAML: {error.problem}{context}", place=place, hint=hint)


def line_of(root: Any, path: tuple[str | int, ...]) -> int:
    """The line `path` leads to, or the last one known on the way; 0 without lines."""
    line = getattr(root, "line", 0)
    for part in path:
        lines = getattr(root, "lines", None)
        try:
            line = lines[part] if lines is not None else line
            root = root[part]
        except (KeyError, IndexError, TypeError):
            break
    return line


def plain(value: Any) -> Any:
    """The same as bare dicts and tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


class _Builder:
    """The events of one document to values. What has an anchor is built once and shared.

    Not PyYAML's nodes: it composes those by recursion in C, and a text nested deeply enough ends the process."""

    def __init__(self, file: str, loader: Any) -> None:
        self.file, self.next, self.resolve = file, loader.get_event, loader.resolve
        self.anchors: dict[str, Any] = {}

    def build(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if depth > DEEPEST:
            raise self.error(event, f"nested more than {DEEPEST} deep")
        if event.anchor:
            self.anchors[event.anchor] = _OPEN
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event)
        else:
            value = (self.mapping if isinstance(event, yaml.MappingStartEvent) else self.sequence)(event, depth + 1)
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            raise self.error(event, f"there is no anchor &{event.anchor}")
        value = self.anchors[event.anchor]
        if value is _OPEN:
            raise self.error(event, f"anchor &{event.anchor} holds an alias to itself")
        return value

    def mapping(self, start: Any, depth: int) -> Map:
        result, lines = Map(), dict[str, int]()
        merged: list[Map] = []
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key, line = self.key(event), event.start_mark.line + 1
            value = self.build(self.next(), depth)
            if key == "<<" and event.implicit[0]:
                merged += self.bases(event, value)
            elif key in lines:
                raise self.error(event, f"key {key} stands here a second time, first in line {lines[key]}")
            else:
                result[key], lines[key] = value, line
        for base in merged:
            for key, value in base.items():
                if key not in result:
                    result[key], lines[key] = value, base.lines[key]
        result.line, result.lines = start.start_mark.line + 1, lines
        return result

    def bases(self, event: Any, value: Any) -> list[Map]:
        """What `<<:` names: a mapping, or a list of them (the earlier wins)."""
        bases = value if isinstance(value, Seq) else [value]
        if not all(isinstance(base, Map) for base in bases):
            raise self.error(event, "<<: wants a mapping or a list of mappings")
        return bases

    def key(self, event: Any) -> str:
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        raise self.error(event, "a key must be a string")

    def sequence(self, start: Any, depth: int) -> Seq:
        result, lines = Seq(), []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            lines.append(event.start_mark.line + 1)
            result.append(self.build(event, depth))
        result.line, result.lines = start.start_mark.line + 1, lines
        return result

    def scalar(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        if tag is None or tag == "!":
            if not event.implicit[0]:
                return text
            tag = self.resolve(yaml.ScalarNode, text, (True, False))
        if tag == "tag:yaml.org,2002:str":
            return text
        if not tag.startswith(_TAG):
            raise self.error(event, f"tag {tag} is not known")
        try:
            return _scalar(tag[len(_TAG) :], text)
        except ValueError:
            raise self.error(event, f"{text} is no {tag[len(_TAG) :]}") from None

    def error(self, event: Any, what: str) -> InputError:
        return InputError(what, place=Place(self.file, event.start_mark.line + 1))


_OPEN = object()


def _scalar(kind: str, text: str) -> Any:
    if kind == "int":
        return _integer(text)
    if kind == "bool":
        return text.lower() in _TRUE
    if kind == "null":
        return None
    if kind == "float" and ":" not in text:
        return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").replace(".INF", "inf"))
    return text


def _integer(text: str) -> int | str:
    """YAML 1.1: 0x1f, 0b11, and a leading 0 means octal. Base 60 (`12:30`) is text to kubectl."""
    digits = text.replace("_", "")
    if ":" in digits:
        return text
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if digits[:2] in ("0x", "0b"):
        return sign * int(digits, 0)
    return sign * int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
