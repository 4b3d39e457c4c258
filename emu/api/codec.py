"""YAML and JSON to typed objects and back, driven by the type hints of the classes alone.

`decode` compiles one function per class. A field that is null, or "" where it has a default, counts as not set.
Wrong values raise `Wrong` with no path; each level adds its own on the way out, so nothing is paid when all is well.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

from emu.api import tree
from emu.api.objects import CLUSTER_SCOPED
from emu.api.wrong import Wrong, did_you_mean, shown
from emu.errors import Place

T = TypeVar("T")
Decoder = Callable[[Any, set[str]], Any]


def decode(cls: type[T], node: Any, place: Place | None = None, ignored: set[str] | None = None) -> T:
    """`node` is a value of `emu.api.tree` or of `json`. Names of ignored fields (`Container.resources`) are added
    to `ignored`."""
    try:
        return typing.cast(T, _decoder(typing.cast(Any, cls))(node, ignored if ignored is not None else set()))
    except Wrong as wrong:
        raise wrong.located(place, node, subject(node)) from None


def decode_json(cls: type[T], data: Mapping[str, Any]) -> T:
    return decode(cls, data)


def subject(node: Any) -> str:
    """`Service default/web`, from what is written; "" for what is no Kubernetes object."""
    if not isinstance(node, dict) or not isinstance(kind := node.get("kind"), str):
        return ""
    metadata = node.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or ""
    namespace = "" if kind in CLUSTER_SCOPED else metadata.get("namespace") or "default"
    return f"{kind} {namespace}/{name}" if namespace and name else f"{kind} {name}".strip()


def title(obj: Any) -> str:
    """`Service default/web`, of an object."""
    meta = obj.metadata
    return subject({"kind": obj.KIND, "metadata": {"name": meta.name, "namespace": meta.namespace}})


@cache
def json_names(cls: type) -> Mapping[str, str]:
    """Attribute → Kubernetes name, in the order of the class."""
    return {each.name: each.metadata.get("json") or _camel(each.name) for each in fields(cls)}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


# Decoding


@cache
def _decoder(hint: Any) -> Decoder:
    """The decoder of a type hint."""
    if is_dataclass(hint) and isinstance(hint, type):
        return _class_decoder(hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union_decoder(args)
    if origin is tuple:
        return _list_decoder(args)
    if args[1] is str:
        return _string_map
    if args[1] is int:
        return _integer_map
    return _plain_map


def _union_decoder(args: tuple[Any, ...]) -> Decoder:
    kinds = [arg for arg in args if arg is not type(None)]
    if len(kinds) > 1:
        return _int_or_string
    decoder = _decoder(kinds[0])
    if get_origin(kinds[0]) is not Mapping:
        return decoder
    return lambda value, ignored: decoder(value, ignored) or None  # an empty selector is none, as in Kubernetes


def _list_decoder(args: tuple[Any, ...]) -> Decoder:
    if args[-1] is not Ellipsis:
        return _pair_decoder(args)
    each = _decoder(args[0])

    def decode_list(value: Any, ignored: set[str]) -> Any:
        if not isinstance(value, list | tuple):
            raise Wrong(f"is {_kind(value)}, must be a list")
        result = []
        for item in value:
            try:
                if item is None:
                    raise Wrong("is empty")
                result.append(each(item, ignored))
            except Wrong as wrong:
                raise wrong.under(len(result)) from None
        return tuple(result)

    return decode_list


def _pair_decoder(args: tuple[Any, ...]) -> Decoder:
    many = _decoder(tuple[args[0], ...])  # type: ignore[valid-type]

    def decode_pair(value: Any, ignored: set[str]) -> Any:
        result = many(value, ignored)
        if len(result) != len(args):
            raise Wrong(f"has {len(result)} items, must have {len(args)}")
        return result

    return decode_pair


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a class says about its fields."""

    cls: type
    known: Mapping[str, tuple[str, Decoder, bool]]  # Kubernetes name → attribute, decoder, "" means not set
    required: tuple[tuple[str, str], ...]
    ignored: frozenset[str]
    refused: Mapping[str, str]
    refused_values: Mapping[str, Mapping[str, str]]

    def stray(self, name: str, value: Any, ignored: set[str]) -> None:
        """A field the class does not have: ignored, refused or not known. One that says nothing is let pass."""
        if name in self.ignored:
            if value:
                ignored.add(f"{self.cls.__name__}.{name}")
        elif name in self.refused:
            if value:
                reason = self.refused[name]
                raise Wrong(f"is not built yet: {reason}" if reason else "is not built yet", name)
        else:
            near = did_you_mean(name, [*self.known, *self.ignored, *self.refused])
            raise Wrong(f"is not a field of {self.cls.__name__}{'; ' if near else ''}{near}", name)


@cache
def _shape(cls: type) -> _Shape:
    hints, names = typing.get_type_hints(cls), json_names(cls)
    known, required = {}, []
    for each in fields(cls):
        name, has_default = names[each.name], _has_default(each)
        unset = hints[each.name] is str and has_default
        known[name] = (each.name, _decoder(hints[each.name]), unset)
        if not has_default:
            required.append((each.name, name))
    refused = getattr(cls, "REFUSED", {})
    return _Shape(
        cls=cls,
        known=known,
        required=tuple(required),
        ignored=getattr(cls, "IGNORED", frozenset()),
        refused=refused if isinstance(refused, Mapping) else dict.fromkeys(refused, ""),
        refused_values=getattr(cls, "REFUSED_VALUES", {}),
    )


def _has_default(each: Any) -> bool:
    return each.default is not MISSING or each.default_factory is not MISSING


def _class_decoder(cls: type) -> Decoder:
    api_version, kind = getattr(cls, "API_VERSION", ""), getattr(cls, "KIND", "")
    shape: list[_Shape] = []  # filled on first use: hints are looked up when every class is there

    def decode_class(value: Any, ignored: set[str]) -> Any:
        if not isinstance(value, dict):
            raise Wrong(f"is {_kind(value)}, must be a mapping")
        if not shape:
            shape.append(_shape(cls))
        this = shape[0]
        for name, refused in this.refused_values.items():
            if isinstance(choice := value.get(name), str) and choice in refused:
                raise Wrong(refused[choice], name, sentence=True)
        given: dict[str, Any] = {}
        known = this.known
        for name, item in value.items():
            if name in known:
                if item is None:
                    continue
                attribute, decoder, unset = known[name]
                if unset and item == "":
                    continue
                try:
                    given[attribute] = decoder(item, ignored)
                except Wrong as wrong:
                    raise wrong.under(name) from None
            elif kind and name in ("apiVersion", "kind"):
                _check_type(name, item, api_version if name == "apiVersion" else kind)
            else:
                this.stray(name, item, ignored)
        for attribute, name in this.required:
            if attribute not in given:
                raise Wrong("is missing", name)
        return cls(**given)

    return decode_class


def _check_type(name: str, value: Any, wanted: str) -> None:
    if value != wanted:
        raise Wrong(f"is {shown(value)}, must be {wanted}", name)


def _kind(value: Any) -> str:
    """`the number 80`, `a list`."""
    if isinstance(value, bool):
        return f"the boolean {shown(value)}"
    if isinstance(value, int | float):
        return f"the number {value}"
    return f'the text "{value}"' if isinstance(value, str) else shown(value)


def _string(value: Any, _: set[str]) -> str:
    if isinstance(value, str):
        return value
    hint = f'put it in quotes: "{shown(value)}"' if isinstance(value, int | float) else ""
    raise Wrong(f"is {_kind(value)}, must be a string", hint=hint)


def _integer(value: Any, _: set[str]) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    hint = "leave the quotes out" if isinstance(value, str) and value.lstrip("-").isdigit() else ""
    raise Wrong(f"is {_kind(value)}, must be a whole number", hint=hint)


def _boolean(value: Any, _: set[str]) -> bool:
    if isinstance(value, bool):
        return value
    raise Wrong(f"is {_kind(value)}, must be true or false")


def _int_or_string(value: Any, _: set[str]) -> int | str:
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    raise Wrong(f"is {_kind(value)}, must be a number or a name")


def _string_map(value: Any, ignored: set[str]) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise Wrong(f"is {_kind(value)}, must be a mapping")
    result = {}
    for key, item in value.items():
        if isinstance(item, str):
            result[key] = item
        else:
            try:
                result[key] = "" if item is None else _string(item, ignored)
            except Wrong as wrong:
                raise wrong.under(key) from None
    return result


def _integer_map(value: Any, ignored: set[str]) -> Mapping[str, int]:
    if not isinstance(value, dict):
        raise Wrong(f"is {_kind(value)}, must be a mapping")
    result = {}
    for key, item in value.items():
        try:
            result[key] = _integer(item, ignored)
        except Wrong as wrong:
            raise wrong.under(key) from None
    return result


def _plain_map(value: Any, _: set[str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Wrong(f"is {_kind(value)}, must be a mapping")
    return typing.cast(Mapping[str, object], tree.plain(value))


_SCALARS: dict[Any, Decoder] = {str: _string, int: _integer, bool: _boolean}


# Encoding


def encode(obj: Any) -> dict[str, Any]:
    """The JSON of an object: `apiVersion` and `kind` first, what is not set left out."""
    result: dict[str, Any] = {}
    if kind := getattr(obj, "KIND", ""):
        result["apiVersion"], result["kind"] = obj.API_VERSION, kind
    for attribute, name, unset in _encoding(typing.cast(Any, type(obj))):
        value = getattr(obj, attribute)
        if value is None or value in unset:
            continue
        coded = _encode_value(value)
        if coded not in unset:
            result[name] = coded
    return result


@cache
def _encoding(cls: type) -> tuple[tuple[str, str, tuple[Any, ...]], ...]:
    """Attribute, Kubernetes name and the values that mean "not set" there. An optional field's emptiness says
    something (`running: {}`), and a 0 does where the default is another number (`replicas: 0`)."""
    always: frozenset[str] = getattr(cls, "ALWAYS", frozenset())
    names = json_names(cls)
    return tuple(
        (each.name, names[each.name], () if names[each.name] in always else _unset(each)) for each in fields(cls)
    )


def _unset(each: Any) -> tuple[Any, ...]:
    if not _has_default(each) or each.default is None:
        return ()
    if isinstance(each.default, bool | int):
        return () if each.default else (each.default,)
    return ("",) if isinstance(each.default, str) else ({}, [], ())


def _encode_value(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple):
        return [_encode_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _encode_value(item) for key, item in value.items()}
    return encode(value)
