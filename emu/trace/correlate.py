"""Captured packets → the path of one request and of its answer. Only what was seen: no hop is inferred.

One packet is known at every point by its `same` key. The request is the first packet of the flow that leaves the
sender; the answer is the first packet that goes the other way from where the request was last seen, or an ICMP error
sent back about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from emu.trace.changed import flow_text, with_changes
from emu.trace.conntrack import ICMP, Tuple, tuple_of
from emu.trace.model import Direction, Flow, Headers, Hop, Leg, PacketRecord, Path, Verdict

OPENING = {"tcp": "SYN", "icmp": "echo request", "icmp6": "echo request"}
ERRORS = ("unreachable", "time exceeded", "fragmentation needed", "packet too big", "parameter problem")


def correlate(records: Iterable[PacketRecord], flow: Flow, translated: Collection[Tuple] = ()) -> Path:
    """`translated`: what NAT, or a program at the socket, had made of the request when it left its sender, as the
    kernel there tells; empty where it knows nothing of it. The sender's port, if the flow has one, tells the request
    from all others."""
    packets = _packets(records)
    request = next((packet for packet in packets if _is_request(packet[0], flow, translated)), None)
    if request is None:
        return Path(forward=Leg(hops=(), verdict=Verdict.DROPPED, reason="the request was seen nowhere"))
    forward = _leg(request)
    later = [packet for packet in packets if packet is not request and packet[0].time_ns >= request[0].time_ns]
    answer = next((packet for packet in later if _answers(packet[0], forward.hops)), None)
    if answer is None:
        return Path(forward=forward)
    reply = _told(_taken(_leg(answer), forward), [packet[0] for packet in later])
    if _from_the_way(answer[0], forward):
        forward = _rejected(forward, answer[0])
    return Path(forward=forward, reply=reply)


def is_error(headers: Headers) -> bool:
    return headers.proto in ICMP and headers.note.startswith(ERRORS)


def _packets(records: Iterable[PacketRecord]) -> list[list[PacketRecord]]:
    """Records of the same packet together, each place once, the packets in the order they were first seen."""
    packets: dict[str, dict[tuple[object, ...], PacketRecord]] = {}
    for record in sorted(records, key=lambda record: record.time_ns):
        if record.inner is not None and record.same:
            place = (record.point, record.direction, record.inner.ttl, record.encapsulation is None)
            packets.setdefault(record.same, {}).setdefault(place, record)
    return [_in_order(places.values()) for places in packets.values()]


def _in_order(places: Iterable[PacketRecord]) -> list[PacketRecord]:
    """By TTL, which routing only ever lowers, then by time. Several places may have one time: the kernel stamps a frame
    once for a port and its bridge, and some clocks are coarse (256 ns under user-mode-linux)."""
    waiting = sorted(places, key=_moment)
    ordered: list[PacketRecord] = []
    while waiting:
        together = [each for each in waiting if _moment(each) == _moment(waiting[0])]
        ordered.append(min(together, key=lambda each: (_distance(each, ordered[-1:]), *_layer(each))))
        waiting.remove(ordered[-1])
    return ordered


def _moment(record: PacketRecord) -> tuple[int, int]:
    assert record.inner is not None
    return (-record.inner.ttl, record.time_ns)


def _distance(record: PacketRecord, before: Sequence[PacketRecord]) -> int:
    """From the place before: first what is left in its namespace, then over a wire into another one."""
    if not before:
        return int(record.direction is Direction.IN)
    turned = before[0].direction is Direction.OUT and record.direction is Direction.IN
    if record.point.netns == before[0].point.netns:
        return 2 if turned else 0
    return 1 if turned else 2


def _layer(record: PacketRecord) -> tuple[bool, bool]:
    """On the way in the port comes before its bridge, and a tunnel's packet before what was in it; on the way out the
    other way round."""
    coming = record.direction is Direction.IN
    return record.point.stacked == coming, (record.encapsulation is not None) != coming


def _is_request(record: PacketRecord, flow: Flow, translated: Collection[Tuple]) -> bool:
    """The packet that opens the flow, as it leaves its sender; not one of a connection that was there before."""
    inner = record.inner
    if inner is None or record.point.netns != flow.netns or record.direction is not Direction.OUT:
        return False
    proto = "icmp6" if flow.proto == "icmp" and flow.dst.version == 6 else flow.proto
    if inner.proto != proto or (proto in OPENING and inner.note != OPENING[proto]):
        return False
    if translated:
        return any(_fits(tuple_of(inner), each) for each in translated)
    dport = 0 if proto in ICMP else flow.dport
    return (inner.dst, inner.dport, inner.sport) == (flow.dst, dport, flow.sport or inner.sport)


def _fits(one: Tuple, wanted: Tuple) -> bool:
    """A port 0 is one that was not known yet."""
    return one == (wanted if wanted.sport else replace(wanted, sport=one.sport))


def _answers(record: PacketRecord, forward: Sequence[Hop]) -> bool:
    """It goes the way of some hop turned around: of the last, or, sent by a Node that has undone its own NAT before the
    answer is first seen, of an earlier one."""
    got = record.inner
    assert got is not None
    if is_error(got):
        return any(got.dst == hop.inner.src and _about(record, hop.inner) for hop in forward)
    return any(_turned(got, hop.inner) for hop in forward)


def _about(record: PacketRecord, asked: Headers) -> bool:
    """An error may be about an earlier packet: a Node gives up asking for a MAC after three seconds."""
    return record.summary in ("", f"about {asked.proto} {flow_text(asked)}")


def _turned(got: Headers, asked: Headers) -> bool:
    if (got.src, got.dst, got.proto) != (asked.dst, asked.src, asked.proto):
        return False
    if got.proto in ICMP:
        return got.note == "echo reply" and got.sport == asked.sport
    return (got.sport, got.dport) == (asked.dport, asked.sport)


def _from_the_way(answer: PacketRecord, forward: Leg) -> bool:
    """An error sent by a Node on the way, not by the one the request was sent to."""
    got = answer.inner
    return got is not None and is_error(got) and got.src != forward.hops[-1].inner.dst


def _rejected(forward: Leg, error: PacketRecord) -> Leg:
    assert error.inner is not None
    reason = f"{error.point.label or error.point.netns} answered {error.inner.note}"
    return Leg(hops=forward.hops, verdict=Verdict.REJECTED, reason=reason)


def _leg(packet: Sequence[PacketRecord]) -> Leg:
    hops = with_changes(_hop(record) for record in packet)
    last = hops[-1]
    if last.direction is Direction.OUT:
        reason = f"last seen leaving {last.point}"
        return Leg(hops=hops, verdict=Verdict.DROPPED, reason=reason)
    return Leg(hops=hops)


def _taken(reply: Leg, forward: Leg) -> Leg:
    """No socket takes an answer that comes to another netns, or from another than was asked."""
    first, last = forward.hops[0], reply.hops[-1]
    if reply.verdict is not Verdict.DELIVERED or is_error(last.inner):
        return reply
    if last.point.netns != first.point.netns:
        return replace(reply, verdict=Verdict.DROPPED, reason=f"the answer ends in {last.point.netns}")
    if last.inner.src != first.inner.dst:
        reason = f"the answer comes from {last.inner.src}, not from {first.inner.dst}"
        return replace(reply, verdict=Verdict.DROPPED, reason=reason)
    return reply


def _told(reply: Leg, later: Sequence[PacketRecord]) -> Leg:
    """An answer that did not arrive, and of which its sender has heard that it did not."""
    if reply.verdict is not Verdict.DROPPED:
        return reply
    errors = (each for each in later if each.inner is not None and is_error(each.inner))
    error = next((each for each in errors if _answers(each, reply.hops)), None)
    return _rejected(reply, error) if error else reply


def _hop(record: PacketRecord) -> Hop:
    assert record.inner is not None
    return Hop(
        point=record.point,
        direction=record.direction,
        inner=record.inner,
        encapsulation=record.encapsulation,
        src_mac=record.src_mac,
        dst_mac=record.dst_mac,
        time_ns=record.time_ns,
    )
