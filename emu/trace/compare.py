"""Is what was seen one of the predicted paths? If not: the first hop that differs, in a sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from emu.trace.changed import flow_text
from emu.trace.compare_causes import missing_cause
from emu.trace.model import Difference, Direction, Encapsulation, Headers, Hop, Leg, Path, Prediction, Verdict
from emu.trace.refusals import NO_HOST
from emu.trace.sizes import TOO_LONG

_NOTES = ("SYN-ACK", "RST", "echo reply", "echo request", "unreachable", "fragmentation needed", "packet too big")


def compare(
    prediction: Prediction, observed: Path, asked: Collection[str] = ()
) -> tuple[int | None, Difference | None]:
    """The index of the predicted path that was taken, or the difference from the one it follows longest.

    That it was taken means: every predicted hop was seen, in order, with the predicted headers, and no other; each leg
    ended as predicted (delivered, rejected, dropped) if it was seen at all; the packet matched every predicted rule
    in the netns that were `asked`, and the kernel there has reasons of the predicted kinds (route, neighbor, FDB).
    Not compared are the texts of those, rules matched beyond the predicted, and what goes over lo, where nobody
    watches.

    In a predicted hop a port 0, an empty MAC and an empty note may be anything. `asked`: the netns whose kernel was
    asked for all its reasons; one named there that tells of no rule is one where no rule matched."""
    nearest: tuple[int, Difference] | None = None
    for index, path in enumerate(prediction.paths):
        agreed, difference = _path(path, observed, asked)
        if difference is None:
            return index, None
        if nearest is None or agreed > nearest[0]:
            nearest = (agreed, difference)
    return None, nearest[1] if nearest else None


def nearest_path(prediction: Prediction, observed: Path) -> int | None:
    """The predicted path that the observed one follows longest; None when nothing was predicted."""
    agreed = [_path(path, observed)[0] for path in prediction.paths]
    return max(range(len(agreed)), key=agreed.__getitem__, default=None)


@dataclass(frozen=True, slots=True)
class Row:
    """A predicted and an observed hop side by side; `wrong` says what is not as expected."""

    expected: Hop | None
    got: Hop | None
    wrong: str = ""


def side_by_side(expected: Leg | None, got: Leg | None) -> tuple[Row, ...]:
    """Everything seen in order, each beside what was expected there, then what was expected but not seen.
    From the first difference on, hops are paired by their place."""
    rows, rest = [], list(expected.hops if expected else ())
    for hop in got.hops if got else ():
        skipped = next((i for i, other in enumerate(rest) if _same_place(other, hop)), None)
        if skipped is None:
            rows.append(Row(None, hop, "not predicted" if expected else ""))
            continue
        rows += [Row(other, None, "" if other.optional else "not seen") for other in rest[:skipped]]
        rows.append(Row(rest[skipped], hop, "; ".join(_header_differences(rest[skipped], hop))))
        rest = rest[skipped + 1 :]
    return (*rows, *(Row(other, None, "" if other.optional else "not seen") for other in rest))


@dataclass(frozen=True, slots=True)
class _Pair:
    """A predicted hop and what stands in its place; `index` counts what was seen."""

    index: int
    expected: Hop | None
    got: Hop | None


def _path(predicted: Path, observed: Path, asked: Collection[str] = ()) -> tuple[int, Difference | None]:
    """How many hops agree before the first difference."""
    agreed = 0
    for name, expected, got in _legs(predicted, observed):
        before: Hop | None = None
        for pair in _pairs(expected.hops if expected else (), got.hops if got else ()):
            fault = _fault(pair)
            if fault:
                return agreed, _difference(name, pair, before, fault, got.reason if got and not got.hops else "")
            agreed += 1
            before = pair.got or before
        differs = (missing_cause(name, expected, got, asked) or _end(name, expected, got)) if expected and got else None
        if differs:
            return agreed, differs
    return agreed, _told(predicted, observed)


def _told(predicted: Path, observed: Path) -> Difference | None:
    """Of what left nobody's interface the sender's kernel tells the sender, over lo, that it has found no host."""
    if observed.reply is None or observed.reply.hops or predicted.forward.verdict is not Verdict.DROPPED:
        return None
    expected = predicted.reply.reason if predicted.reply and not predicted.reply.hops else ""
    got = observed.reply.reason
    if NO_HOST not in (expected, got) or expected == got:
        return None
    what = f"reply: expected {expected or 'none'}, got {got or 'none'}"
    return Difference(leg="reply", index=0, expected=None, observed=None, what=what)


def _end(name: str, expected: Leg, got: Leg) -> Difference | None:
    """How it ended, where that could be seen: what was seen nowhere may have come as far over lo as predicted. Of what
    was too long to be sent the sender's kernel has said so."""
    said = next((leg.reason for leg in (expected, got) if leg.reason.startswith(TOO_LONG)), "")
    if said and not expected.hops and not got.hops and expected.reason != got.reason:
        what = f"{name}: expected {expected.reason or 'it to be sent'}, got {got.reason or 'it sent'}"
        return Difference(leg=name, index=0, expected=None, observed=None, what=what)
    if expected.verdict is got.verdict or not got.hops:
        return None
    index = len(got.hops) - 1
    told = f", {got.reason}" if got.reason else ""
    what = f"{name} hop {index + 1}: expected to be {expected.verdict} behind it, but it was {got.verdict}{told}"
    return Difference(leg=name, index=index, expected=None, observed=got.hops[-1], what=what)


def _legs(predicted: Path, observed: Path) -> Iterator[tuple[str, Leg | None, Leg | None]]:
    yield "forward", predicted.forward, observed.forward
    yield "reply", predicted.reply, observed.reply


def _pairs(expected: Sequence[Hop], got: Sequence[Hop]) -> Iterator[_Pair]:
    """Hop by hop; an optional one that was not seen is skipped."""
    wanted = list(expected)
    for index, hop in enumerate(got):
        while wanted and wanted[0].optional and not _same_place(wanted[0], hop):
            wanted.pop(0)
        yield _Pair(index, wanted.pop(0) if wanted else None, hop)
    for hop in wanted:
        if not hop.optional:
            yield _Pair(len(got), hop, None)
            return


def _same_place(a: Hop, b: Hop) -> bool:
    return (a.point.netns, a.point.ifname, a.direction) == (b.point.netns, b.point.ifname, b.direction)


class _Fault(Enum):
    UNEXPECTED = auto()  # seen where the path should have ended
    UNSEEN = auto()
    ELSEWHERE = auto()
    HEADERS = auto()


def _fault(pair: _Pair) -> _Fault | None:
    if pair.expected is None:
        return _Fault.UNEXPECTED
    if pair.got is None:
        return _Fault.UNSEEN
    if not _same_place(pair.expected, pair.got):
        return _Fault.ELSEWHERE
    return _Fault.HEADERS if any(_header_differences(pair.expected, pair.got)) else None


def _header_differences(expected: Hop, got: Hop) -> Iterator[str]:
    yield from _headers("", expected.inner, got.inner)
    if not expected.optional:  # the neighbor code is just rewriting the MACs as the bridge shows such a frame
        yield from _mac("source", expected.src_mac, got.src_mac)
        yield from _mac("destination", expected.dst_mac, got.dst_mac)
    a, b = expected.encapsulation, got.encapsulation
    if a is None or b is None:
        if a is not b:
            yield f"expected {_tunnel(a)}, got {_tunnel(b)}"
        return
    if (a.kind, a.vni) != (b.kind, b.vni):
        yield f"expected {a.kind} {a.vni}, got {b.kind} {b.vni}"
    yield from _headers("outer ", a.outer, b.outer)
    yield from _mac("outer source", a.outer_src_mac, b.outer_src_mac)
    yield from _mac("outer destination", a.outer_dst_mac, b.outer_dst_mac)


def _headers(prefix: str, expected: Headers, got: Headers) -> Iterator[str]:
    for name in ("src", "dst", "proto", "ttl"):
        a, b = getattr(expected, name), getattr(got, name)
        if a != b:
            yield f"expected {prefix}{name} {a}, got {b}"
    if expected.fragments != got.fragments:
        yield f"expected {prefix}{pieces(expected)}, got {pieces(got)}"
    for name in ("sport", "dport"):
        a, b = getattr(expected, name), getattr(got, name)
        if a and a != b:
            yield f"expected {prefix}{name} {a}, got {b}"
    if _kind(expected.note) and _kind(got.note) and _kind(expected.note) != _kind(got.note):
        yield f"expected {expected.note}, got {got.note}"


def pieces(headers: Headers) -> str:
    return f"{headers.fragments} fragments" if headers.fragments else "a whole packet"


def _kind(note: str) -> str:
    """What a note says about the course of things; "" for a mere remark."""
    return note if note.startswith(_NOTES) else ""


def _mac(what: str, expected: str, got: str) -> Iterator[str]:
    if expected and got and expected.lower() != got.lower():
        yield f"expected {what} MAC {expected}, got {got}"


def _tunnel(encapsulation: Encapsulation | None) -> str:
    return f"{encapsulation.kind.upper()} to {encapsulation.outer.dst}" if encapsulation else "no encapsulation"


def _difference(leg: str, pair: _Pair, before: Hop | None, fault: _Fault, reason: str) -> Difference:
    expected, got = pair.expected, pair.got
    where = f"{leg} hop {pair.index + 1}: "
    if expected is None and got is not None:
        what = f"the path should have ended{_after(before)}, but the packet was seen {place(got)}"
    elif got is None and expected is not None:
        seen = f"the packet was last seen at {before.point}" if before else reason or f"no packet was seen ({leg})"
        what = f"expected {place(expected)}, but {seen}"
    elif fault is _Fault.ELSEWHERE and expected is not None and got is not None:
        what = f"expected {place(expected)}, but it was seen {place(got)}"
    else:
        assert expected is not None and got is not None
        what = f"at {got.point}: {'; '.join(_header_differences(expected, got))}"
    return Difference(leg=leg, index=pair.index, expected=expected, observed=got, what=where + what)


def _after(before: Hop | None) -> str:
    return f" at {before.point}" if before else " before it was seen"


def place(hop: Hop) -> str:
    """`to leave node1 through flannel.1 (10.244.1.5 → 10.244.2.3, VXLAN to 192.168.100.12)`."""
    verb = "to leave" if hop.direction is Direction.OUT else "to enter"
    tunnel = f", {_tunnel(hop.encapsulation)}" if hop.encapsulation else ""
    name = hop.point.label or hop.point.netns
    return f"{verb} {name} through {hop.point.ifname} ({flow_text(hop.inner)}{tunnel})"
