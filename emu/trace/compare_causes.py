"""Did the kernel have the predicted reasons? The same hops for other reasons are not the predicted path."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from emu.errors import EmuError
from emu.netfilter import normal, parse
from emu.trace.decisions import comparable
from emu.trace.model import Cause, CauseKind, Difference, Leg

#: Told with what was found, which must be the predicted.
_CHOSEN = {
    CauseKind.EBPF: "no program found the expected entry",
    CauseKind.IPVS: "IPVS did not choose as expected",
}
_LOOKED_UP = (CauseKind.ROUTE, CauseKind.NEIGHBOR, CauseKind.FDB)


def missing_cause(leg: str, expected: Leg, got: Leg, asked: Collection[str]) -> Difference | None:
    """A predicted rule that the packet did not match, or a kind of reason that the kernel did not have, in one of the
    netns that were asked. A leg that nobody saw has no
    packet to ask about."""
    traced = _rules(got)
    for netns, lines in _rules(expected).items() if got.hops else ():
        seen = {_normal(line) for line in traced.get(netns, ())}
        missing = [line for line in lines if _normal(line) not in seen] if netns in asked else []
        if missing:
            return _difference(leg, got, netns, f"the packet did not match the expected rule {missing[0]}")
    if unfound := _unfound(expected, got, asked):
        return _difference(leg, got, unfound.netns, f"{_CHOSEN[unfound.kind]}: {unfound.text}")
    for netns, kind in _kinds(expected) - _kinds(got) if got.hops else ():
        if netns in asked:
            return _difference(leg, got, netns, f"the kernel has no {kind} for the packet, which was predicted")
    return None


def _unfound(expected: Leg, got: Leg, asked: Collection[str]) -> Cause | None:
    """What programs at sockets find is told of packets too that nobody saw."""
    told = {(cause.netns, _found(cause)) for cause in _causes(got) if cause.kind in _CHOSEN}
    for cause in _causes(expected):
        wanted = cause.kind in _CHOSEN and cause.netns in asked and (got.hops or cause in expected.origin)
        if wanted and (cause.netns, _found(cause)) not in told:
            return cause
    return None


def _found(cause: Cause) -> str:
    return comparable(cause) if cause.kind is CauseKind.EBPF else cause.text


def _kinds(leg: Leg) -> set[tuple[str, CauseKind]]:
    return {(cause.netns, cause.kind) for cause in _causes(leg) if cause.kind in _LOOKED_UP}


def _causes(leg: Leg) -> Iterator[Cause]:
    yield from leg.origin
    yield from (cause for hop in leg.hops for cause in hop.causes)


def _difference(leg: str, got: Leg, netns: str, said: str) -> Difference:
    index = next((i for i, hop in enumerate(got.hops) if hop.point.netns == netns), 0)
    what = f"{leg} hop {index + 1}: in {netns} {said}"
    observed = got.hops[index] if got.hops else None
    return Difference(leg=leg, index=index, expected=None, observed=observed, what=what)


def _rules(leg: Leg) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for cause in _causes(leg):
        if cause.kind is CauseKind.RULE:
            found.setdefault(cause.netns, []).append(cause.text)
    return found


def _normal(line: str) -> object:
    """A rule as a value, however it is spelled; the text itself where it cannot be read."""
    words = line.split(maxsplit=2)
    table, rest = (words[1], words[2]) if words[:1] == ["-t"] and len(words) == 3 else ("filter", line)
    try:
        chain, rule = parse.rule(rest)
    except (EmuError, ValueError):
        return line
    return (table, chain, normal.normal(rule))
