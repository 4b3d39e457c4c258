"""A predicted path as a capture would have recorded it: what a kernel that behaves as planned shows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from emu.trace.model import Encapsulation, Headers, Hop, Leg, PacketRecord, Path

ANY_PORT = 40000


def records(path: Path, *, optional: bool = True, start_ns: int = 1000) -> list[PacketRecord]:
    """In no particular order, with ports where the prediction says any. `optional`: whether such hops are seen."""
    found = [*_leg(path.forward, "request", start_ns, optional)]
    if path.reply:
        found += _leg(path.reply, "answer", start_ns + 10_000, optional)
    random.Random(1).shuffle(found)
    return found


def _leg(leg: Leg, same: str, start_ns: int, optional: bool) -> Iterator[PacketRecord]:
    for index, hop in enumerate(hop for hop in leg.hops if optional or not hop.optional):
        yield _record(hop, same, start_ns + index)


def _record(hop: Hop, same: str, time_ns: int) -> PacketRecord:
    tunnel = hop.encapsulation
    return PacketRecord(
        point=hop.point,
        time_ns=time_ns,
        direction=hop.direction,
        length=100,
        inner=_concrete(hop.inner),
        encapsulation=_tunnel(tunnel) if tunnel else None,
        src_mac=hop.src_mac,
        dst_mac=hop.dst_mac,
        same=same,
    )


def _tunnel(encapsulation: Encapsulation) -> Encapsulation:
    return replace(encapsulation, outer=_concrete(encapsulation.outer))


def _concrete(headers: Headers) -> Headers:
    if headers.note.startswith(("unreachable", "time")):
        return headers
    dport = headers.dport if headers.proto == "icmp" else headers.dport or ANY_PORT
    return replace(headers, sport=headers.sport or ANY_PORT, dport=dport)
