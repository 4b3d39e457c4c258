"""Frames a bridge sent out of every port, for want of a forwarding entry: the copies that nobody takes.

A bridge forgets a MAC after five minutes of silence while a neighbor entry stays, so that any path may have them. They
are no part of a packet's path as long as one copy reaches the end it is addressed to; where none does, all of them are
what there is to see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from emu.plan.model import Link, Plan
from emu.trace.model import Direction, PacketRecord

_Port = tuple[str, str]  # netns, ifname
_Passage = tuple[str, str, str, Direction]  # packet, netns, ifname, direction


def without_copies(records: Iterable[PacketRecord], plan: Plan) -> tuple[tuple[PacketRecord, ...], tuple[str, ...]]:
    """The records without such copies, and a sentence for each bridge that made some."""
    every = tuple(records)
    strays: set[_Passage] = set()
    notes: dict[str, None] = {}
    for (packet, *_), group in _leaving(every, plan).items():
        taken = [record for record in group if _reaches_its_end(record, plan)]
        copies = [record for record in group if record not in taken]
        if taken and copies:
            strays.update(p for copy in copies for p in _onward(packet, _port(copy), every, plan))
            notes[_note(copies, plan)] = None
    return tuple(record for record in every if _passage(record) not in strays), tuple(notes)


def _leaving(records: Sequence[PacketRecord], plan: Plan) -> dict[tuple[str, ...], list[PacketRecord]]:
    """What left through ports of one bridge: the same packet, for the same MAC."""
    found: defaultdict[tuple[str, ...], list[PacketRecord]] = defaultdict(list)
    for record in records:
        link = _link(_port(record), plan)
        if record.same and record.direction is Direction.OUT and link and link.master:
            found[record.same, record.point.netns, link.master, _mac(record)].append(record)
    return found


def _onward(packet: str, port: _Port, records: Sequence[PacketRecord], plan: Plan) -> Iterator[_Passage]:
    """Where a copy went that left by a port: to the other end, and by way of another bridge to all of its ports."""
    yield (packet, *port, Direction.OUT)
    link = _link(port, plan)
    other = _link(link.peer, plan) if link and link.peer else None
    if link is None or link.peer is None or other is None:
        return
    yield (packet, *link.peer, Direction.IN)
    for record in records if other.master else ():
        next_link = _link(_port(record), plan)
        onward = record.same == packet and record.direction is Direction.OUT and record.point.netns == link.peer[0]
        if onward and next_link and next_link.master == other.master and _port(record) != link.peer:
            yield from _onward(packet, _port(record), records, plan)


def _reaches_its_end(record: PacketRecord, plan: Plan) -> bool:
    link = _link(_port(record), plan)
    other = _link(link.peer, plan) if link and link.peer else None
    if other is None:
        return link is not None and _goes_on(record, plan)
    return other.mac.lower() == _mac(record)


def _goes_on(record: PacketRecord, plan: Plan) -> bool:
    """By a tunnel, to where the plan says that this MAC is."""
    netns = plan.netns[record.point.netns]
    return any((entry.dev, entry.mac) == (record.point.ifname, _mac(record)) for entry in netns.fdb)


def _mac(record: PacketRecord) -> str:
    """The destination of the frame as it is on the wire."""
    return (record.encapsulation.outer_dst_mac if record.encapsulation else record.dst_mac).lower()


def _note(copies: Sequence[PacketRecord], plan: Plan) -> str:
    first = copies[0]
    link = _link(_port(first), plan)
    ports = ", ".join(dict.fromkeys(record.point.ifname for record in copies))
    bridge = f"{first.point.label or first.point.netns}:{link.master if link else ''}"
    return f"{bridge} had no entry for {_mac(first)} and sent copies to all ports ({ports}): nobody took them"


def _link(port: _Port, plan: Plan) -> Link | None:
    netns = plan.netns.get(port[0])
    return netns.link(port[1]) if netns else None


def _port(record: PacketRecord) -> _Port:
    return record.point.netns, record.point.ifname


def _passage(record: PacketRecord) -> _Passage:
    return record.same, record.point.netns, record.point.ifname, record.direction
