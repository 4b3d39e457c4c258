"""Racks: the switches that links make one. Across a router there is another rack, with a Node network of its own."""

from __future__ import annotations

from collections.abc import Iterable

from emu.api.topology import Fabric

VPC = "vpc"  # a kind of fabric


def racks(fabric: Fabric) -> tuple[tuple[str, ...], ...]:
    """In the order of their first switches. Without routers there is one Node network, whatever the links; in a VPC
    each name is a subnet."""
    if not is_routed(fabric):
        return (fabric.switches,)
    return groups(fabric.switches, fabric.links)


def is_routed(fabric: Fabric) -> bool:
    """Whether there may be several Node networks."""
    return bool(fabric.routers) or fabric.kind == VPC


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
