"""Endpoints of a Service → EndpointSlices of at most 100, with as few writes as the real controllers: an endpoint stays
in its slice, new ones fill the room there is, a slice that is empty goes, and a Service without endpoints keeps one
empty slice of each family. Source: kubernetes staging/src/k8s.io/endpointslice/reconciler.go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from emu import names
from emu.api.objects import Endpoint, EndpointPort, EndpointSlice, Key, ObjectMeta, Objects, key_of
from emu.cluster.passes.stamp import stamped

MAX_ENDPOINTS = 100
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"

#: (address type, ports) → endpoints
Groups = Mapping[tuple[str, tuple[EndpointPort, ...]], tuple[Endpoint, ...]]


@dataclass(slots=True)
class Fitted:
    puts: list[EndpointSlice] = field(default_factory=list)
    deletes: list[Key] = field(default_factory=list)


def fitted(
    existing: Iterable[EndpointSlice], groups: Groups, meta: ObjectMeta, *, seed: int, objects: Objects, now: str
) -> Fitted:
    """`meta` is a pattern: the name is completed from `generate_name`. Of `existing`, only those with its managed-by
    label are looked at."""
    manager = meta.labels[MANAGED_BY_LABEL]
    own = [piece for piece in existing if piece.metadata.labels.get(MANAGED_BY_LABEL) == manager]
    result = Fitted()
    taken: set[Key] = set()
    for (address_type, ports), wanted in groups.items():
        same = [piece for piece in own if (piece.address_type, piece.ports) == (address_type, ports)]
        kept, rest = _kept(same, wanted, meta)
        result.puts += kept
        for part in _parts(rest, empty=not kept):
            named = _named(seed, meta, address_type, objects, taken)
            piece = EndpointSlice(metadata=named, address_type=address_type, endpoints=part, ports=ports)
            taken.add(key_of(piece))
            result.puts.append(stamped(seed, piece, now))
    staying = {key_of(piece) for piece in result.puts}
    result.deletes = [key_of(piece) for piece in own if key_of(piece) not in staying]
    return result


def _kept(
    same: Sequence[EndpointSlice], wanted: Sequence[Endpoint], meta: ObjectMeta
) -> tuple[list[EndpointSlice], list[Endpoint]]:
    """The slices that stay, with what they then hold, and the endpoints that found no room."""
    rest = {_identity(endpoint): endpoint for endpoint in wanted}
    held = []
    for piece in same:
        held.append([rest.pop(_identity(old)) for old in piece.endpoints if _identity(old) in rest])
    new = list(rest.values())
    for endpoints in held:
        if endpoints and new:
            room = MAX_ENDPOINTS - len(endpoints)
            endpoints += new[:room]
            new = new[room:]
    if new and held and not any(held):
        held[0], new = new[:MAX_ENDPOINTS], new[MAX_ENDPOINTS:]
    staying = [(piece, endpoints) for piece, endpoints in zip(same, held, strict=True) if endpoints] or [
        (piece, []) for piece in same[: 0 if wanted else 1]
    ]
    return [_updated(piece, tuple(endpoints), meta) for piece, endpoints in staying], new


def _identity(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.addresses[0], endpoint.target_ref.uid if endpoint.target_ref else ""


def _updated(piece: EndpointSlice, endpoints: tuple[Endpoint, ...], meta: ObjectMeta) -> EndpointSlice:
    own = piece.metadata
    if own.labels == meta.labels and all(own.annotations.get(k) == v for k, v in meta.annotations.items()):
        return piece if piece.endpoints == endpoints else replace(piece, endpoints=endpoints)
    own = replace(own, labels=meta.labels, annotations={**own.annotations, **meta.annotations})
    return replace(piece, metadata=own, endpoints=endpoints)


def _parts(endpoints: Sequence[Endpoint], *, empty: bool) -> Iterable[tuple[Endpoint, ...]]:
    """One empty part when there is nothing and no slice yet."""
    if not endpoints and empty:
        yield ()
    for start in range(0, len(endpoints), MAX_ENDPOINTS):
        yield tuple(endpoints[start : start + MAX_ENDPOINTS])


def _named(seed: int, meta: ObjectMeta, address_type: str, objects: Objects, taken: set[Key]) -> ObjectMeta:
    for attempt in count():
        name = meta.generate_name + names.suffix(
            5, seed, "slice", meta.namespace, meta.generate_name, address_type, attempt
        )
        key = (EndpointSlice.KIND, meta.namespace, name)
        if key not in objects and key not in taken:
            return replace(meta, name=name)
    raise AssertionError("count() does not end")
