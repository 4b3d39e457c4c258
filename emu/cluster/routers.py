"""Topology → routers: router r has number r of every Node network it has a port in, and the way to all the others."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface

from emu.api.racks import VPC, rack_of, racks
from emu.api.topology import Fabric, RouterEntry, Topology
from emu.cluster import vpc
from emu.cluster.model import IPAddress, IPInterface, IPNetwork, Router, RouterPort
from emu.cluster.nodes import rack_networks
from emu.memo import by_identity


def routers(topology: Topology) -> tuple[Router, ...]:
    return _routers(topology)


@by_identity
def _routers(topology: Topology) -> tuple[Router, ...]:
    if topology.fabric.kind == VPC:
        return vpc.routers()
    return tuple(_router(topology, entry) for entry in topology.fabric.routers)


def _router(topology: Topology, entry: RouterEntry) -> Router:
    ports = tuple(
        RouterPort(dev=f"eth{index}", switch=switch, addresses=tuple(_addresses(topology, entry, switch)))
        for index, switch in enumerate(entry.links)
    )
    return Router(name=entry.name, ports=ports, routes=tuple(_routes(topology, entry)))


def _addresses(topology: Topology, entry: RouterEntry, switch: str) -> Iterator[IPInterface]:
    number = topology.fabric.routers.index(entry) + 1
    for network in rack_networks(topology, switch):
        yield ip_interface(f"{network[number]}/{network.prefixlen}")


def _routes(topology: Topology, entry: RouterEntry) -> Iterator[tuple[IPNetwork, IPAddress]]:
    """By the fewest routers; of equals, those that stand first in the file."""
    fabric = topology.fabric
    own = _ports(fabric, entry)
    for index, rack in enumerate(racks(fabric)):
        if index not in own:
            shared, router = _first_step(fabric, entry, index)
            vias = _addresses(topology, router, shared)
            for network, via in zip(rack_networks(topology, rack[0]), vias, strict=True):
                yield network, via.ip


def _first_step(fabric: Fabric, start: RouterEntry, rack: int) -> tuple[str, RouterEntry]:
    """The switch and the next router on the way to a rack: a walk over all ways, the shortest first."""
    ways: list[tuple[RouterEntry, ...]] = [(start,)]
    for way in ways:
        if rack in _ports(fabric, way[-1]):
            return _shared(fabric, start, way[1]), way[1]
        ways += [(*way, each) for each in fabric.routers if each not in way and _meet(fabric, way[-1], each)]
    raise AssertionError("checked in api.fabricrules")


def _ports(fabric: Fabric, router: RouterEntry) -> dict[int, str]:
    """Its switch in each rack."""
    return {rack_of(fabric, switch): switch for switch in router.links}


def _meet(fabric: Fabric, one: RouterEntry, other: RouterEntry) -> bool:
    return not _ports(fabric, one).keys().isdisjoint(_ports(fabric, other))


def _shared(fabric: Fabric, one: RouterEntry, other: RouterEntry) -> str:
    theirs = _ports(fabric, other)
    return theirs[next(rack for rack in _ports(fabric, one) if rack in theirs)]
