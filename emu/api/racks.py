"""Racks: the switches that links make one. Across a router there is another rack, with a Node network of its own."""

from __future__ import annotations

from collections.abc import Iterable

from emu.api.topology import Fabric


def racks(fabric: Fabric) -> tuple[tuple[str, ...], ...]:
    """In the order of their first switches. Without routers there is one Node network, whatever the links."""
    if not fabric.routers:
        return (fabric.switches,)
    return groups(fabric.switches, fabric.links)


def rack_of(fabric: Fabric, switch: str) -> int:
    """Its place among the racks; "" is the first switch."""
    return next((i for i, rack in enumerate(racks(fabric)) if switch in rack), 0)


def groups(names: Iterable[str], joined: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """The names, each with all it is joined to, at whatever distance; in the order given."""
    order = tuple(names)
    found = [{name} for name in order]
    for ends in map(set, joined):
        touched = [group for group in found if group & ends]
        found = [group for group in found if not group & ends] + [set().union(*touched)]
    ordered = (tuple(name for name in order if name in group) for group in found)
    return tuple(sorted(ordered, key=lambda group: order.index(group[0])))
