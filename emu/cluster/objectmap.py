"""Reading and changing the immutable mapping of objects that the passes hand on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import is_
from types import MappingProxyType
from typing import TypeVar

from emu.api.load import str_of
from emu.api.objects import Key, KubeObject, Objects, key_of
from emu.memo import by_identity

Kind = TypeVar("Kind", bound=KubeObject)

SYSTEM_NAMESPACE = "kube-system"


AT_ONCE = 4  # mappings that are looked at in turn: passes hand one on until one of them changes something


def of_kind(objects: Objects, kind: type[Kind]) -> Iterator[Kind]:
    return iter(all_of(objects, kind))


def all_of(objects: Objects, kind: type[Kind]) -> Sequence[Kind]:
    """In order; the same sequence as long as nothing of that kind changes."""
    return _by_kind(objects).get(kind, ())  # type: ignore[arg-type, return-value]


@partial(by_identity, size=AT_ONCE)
def _by_kind(objects: Objects) -> Mapping[type[KubeObject], Sequence[KubeObject]]:
    found: dict[type[KubeObject], list[KubeObject]] = {}
    for obj in objects.values():
        found.setdefault(type(obj), []).append(obj)
    return {kind: _met_before(kind, objs) for kind, objs in found.items()}


_latest: dict[type[KubeObject], Sequence[KubeObject]] = {}


def _met_before(kind: type[KubeObject], objs: Sequence[KubeObject]) -> Sequence[KubeObject]:
    latest = _latest.get(kind, ())
    if len(latest) == len(objs) and all(map(is_, latest, objs)):
        return latest
    _latest[kind] = objs
    return objs


def changed(objects: Objects, puts: Iterable[KubeObject] = (), deletes: Iterable[Key] = ()) -> Objects:
    """`objects` with these written and those gone; `objects` itself when there is nothing to do."""
    writes = {key: obj for obj in puts if objects.get(key := key_of(obj)) is not obj}
    gone = [key for key in deletes if key in objects]
    if not writes and not gone:
        return objects
    copy = {**objects, **writes}
    for key in gone:
        copy.pop(key, None)
    return MappingProxyType(copy)


def unseen(objects: Objects, before: Objects) -> list[KubeObject]:
    """Those that are not the same object in `before`."""
    return [obj for key, obj in objects.items() if before.get(key) is not obj]


def differences(old: Objects, new: Objects) -> tuple[tuple[KubeObject, ...], tuple[Key, ...]]:
    """(puts, deletes) that turn `old` into `new`, for `Store.write`. Unchanged objects are the same object."""
    return tuple(unseen(new, old)), tuple(key for key in old if key not in new)


def by_owner(objects: Objects, kind: type[Kind]) -> Mapping[str, list[Kind]]:
    """Objects of a kind, in order, by the uid of their controller; "" for those without."""
    return _owned(all_of(objects, kind))


@partial(by_identity, size=2 * AT_ONCE)
def _owned(objs: Sequence[Kind]) -> Mapping[str, list[Kind]]:
    owned: dict[str, list[Kind]] = {}
    for obj in objs:
        owned.setdefault(owner_uid(obj), []).append(obj)
    return owned


def owner_uid(obj: KubeObject) -> str:
    for reference in obj.metadata.owner_references:
        if reference.controller:
            return reference.uid
    return ""


def in_turn(objs: Iterable[Kind]) -> list[Kind]:
    """The order objects are served in: the older first; of one age the system's first (their priority class is the
    highest in a real cluster), then as they stand in the mapping, which is the order of the manifests."""
    return sorted(objs, key=lambda obj: (obj.metadata.creation_timestamp, not _is_system(obj)))


def _is_system(obj: KubeObject) -> bool:
    meta = obj.metadata
    return meta.namespace == SYSTEM_NAMESPACE or (obj.KIND, meta.namespace, meta.name) == (
        "Service",
        "default",
        "kubernetes",
    )


def subject(obj: KubeObject) -> str:
    """How messages name an object: `Service default/web`, `Node node1`."""
    return str_of(key_of(obj))
