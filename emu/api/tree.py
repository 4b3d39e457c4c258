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
        while loader.check_node():
            value = _Builder(file).build(loader.get_node())
            if value is not None:
                yield value
    except yaml.MarkedYAMLError as error:
        raise _broken(error, file) from None
    except yaml.reader.ReaderError as error:
        raise InputError(f"not text: {error.reason}", place=Place(file, _line_at(text, error.position))) from None
    except RecursionError:
        raise InputError("nested too deeply", place=Place(file, 1)) from None


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
    """Nodes to values. An aliased node is built once and shared."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.built: dict[int, Any] = {}

    def build(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        value = self.built.get(id(node))
        if value is None:
            value = self.mapping(node) if isinstance(node, yaml.MappingNode) else self.sequence(node)
            self.built[id(node)] = value
        elif value is _OPEN:
            raise self.error(node, "an anchor holds an alias to itself")
        return value

    def mapping(self, node: yaml.MappingNode) -> Map:
        self.built[id(node)] = _OPEN
        result, lines = Map(), dict[str, int]()
        merged: list[Map] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged += self.bases(value_node)
                continue
            key = self.key(key_node)
            line = key_node.start_mark.line + 1
            if key in lines:
                raise self.error(key_node, f"key {key} stands here a second time, first in line {lines[key]}")
            lines[key] = line
            result[key] = self.build(value_node)
        for base in merged:
            for key, value in base.items():
                if key not in result:
                    result[key], lines[key] = value, base.lines[key]
        result.line, result.lines = node.start_mark.line + 1, lines
        return result

    def bases(self, node: yaml.Node) -> list[Map]:
        """What `<<:` names: a mapping, or a list of them (the earlier wins)."""
        value = self.build(node)
        bases = value if isinstance(value, Seq) else [value]
        if not all(isinstance(base, Map) for base in bases):
            raise self.error(node, "<<: wants a mapping or a list of mappings")
        return bases

    def key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, "a key must be a string, not a mapping or a list")
        return str(node.value)

    def sequence(self, node: yaml.Node) -> Seq:
        self.built[id(node)] = _OPEN
        result = Seq(self.build(item) for item in node.value)
        result.line = node.start_mark.line + 1
        result.lines = [item.start_mark.line + 1 for item in node.value]
        return result

    def scalar(self, node: yaml.ScalarNode) -> Any:
        tag, text = node.tag, node.value
        if tag == "tag:yaml.org,2002:str":
            return text
        if not tag.startswith(_TAG):
            raise self.error(node, f"tag {tag} is not known")
        return _scalar(tag[len(_TAG) :], text)

    def error(self, node: yaml.Node, what: str) -> InputError:
        return InputError(what, place=Place(self.file, node.start_mark.line + 1))


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
