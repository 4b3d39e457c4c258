"""The sentences and lines every report shares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from emu.trace.changed import CLEARED, flow_text
from emu.trace.compare import nearest_path
from emu.trace.model import Cause, CauseKind, Direction, Flow, Headers, Hop, Leg, TraceResult, Verdict

ARROW = {Direction.IN: "→|", Direction.OUT: "|→"}


def title(flow: Flow) -> str:
    ends = flow.label or f"{flow.netns} → {flow.dst}{f':{flow.dport}' if flow.dport else ''}"
    size = f", {flow.size} bytes" if flow.size is not None else ""
    return f"{ends} ({flow.proto}{size}{', not to be fragmented' * flow.df})"


def outcome(result: TraceResult) -> str:
    """One sentence: is the observed path a predicted one?"""
    total = len(result.prediction.paths)
    if result.matched is None:
        return result.difference.what if result.difference else "nothing was predicted"
    if result.unproven:
        return f"not proven: {result.unproven}"
    if total == 1:
        return "the observed path is the predicted one"
    chance = result.prediction.paths[result.matched].forward.probability
    return f"the observed path is one of the {total} predicted ones (number {result.matched + 1}, {percent(chance)})"


def percent(probability: float) -> str:
    return f"{100 * probability:.3g} %"


def ending(leg: Leg) -> str:
    """How a leg ended."""
    if leg.verdict is Verdict.DELIVERED:
        return f"delivered: {leg.reason}" if leg.reason else "delivered"
    return f"{leg.verdict}: {leg.reason}" if leg.reason else str(leg.verdict)


def ended(expected: Leg | None, got: Leg | None, *, agreed: bool) -> str:
    """How a leg went, for its heading. Why a packet is not seen any more is no packet's to show: where it was to be so
    (`agreed`), the prediction says it."""
    if nowhere(expected, got):
        if agreed or not expected or not got or got.reason == expected.reason:
            return unseen(expected)
        return f"seen at no interface ({ending(got) if got.reason else f'expected: {ending(expected)}'})"
    if agreed and expected and got and expected.verdict is got.verdict is Verdict.DROPPED and got.hops:
        return f"dropped: {expected.reason}" + (f" ({got.reason})" if got.reason not in ("", expected.reason) else "")
    return ending(got) if got else "nothing came back"


def nowhere(expected: Leg | None, got: Leg | None) -> bool:
    """Nothing was seen, and nothing should have been."""
    return expected is not None and not expected.hops and (got is None or not got.hops)


def unseen(leg: Leg | None) -> str:
    return f"seen at no interface, as predicted ({ending(leg)})" if leg else ""


def packet(headers: Headers) -> str:
    """`10.244.1.2:40000 → 10.96.0.10:53 udp ttl 64 SYN`."""
    note = f"  {headers.note}" if headers.note else ""
    return f"{flow_text(headers)}  {headers.proto} ttl {headers.ttl}{note}{_pieces(headers)}"


def _pieces(headers: Headers) -> str:
    return f"  in {headers.fragments} fragments" if headers.fragments else ""


def tunnel(hop: Hop) -> str:
    """The outer headers; "" outside a tunnel."""
    if hop.encapsulation is None:
        return ""
    outer = hop.encapsulation
    vni = f" {outer.vni}" if outer.vni else ""
    said = f"{outer.kind.upper()}{vni} in {flow_text(outer.outer)}  {outer.outer.proto} ttl {outer.outer.ttl}"
    return said + _pieces(outer.outer)


def causes(of_hop: Sequence[Cause]) -> list[tuple[str, str, str]]:
    """(kind, text, effect) of each; the jumps that led to a rule are told in one line, those that led to none not."""
    told: list[tuple[str, str, str]] = []
    jumps: list[str] = []
    for each in _telling(of_hop):
        if each.kind is CauseKind.RULE and not each.effect:
            jumps += _places(each.text)[1:]
            continue
        if each.kind is CauseKind.RULE and jumps:
            told.append(("chain", " → ".join(dict.fromkeys(jumps)), ""))
            jumps = []
        text = " ".join(each.text.split())
        told.append((str(each.kind), text, "" if _says_itself(each) else each.effect))
    return told


def _telling(of_hop: Sequence[Cause]) -> list[Cause]:
    """Without the jumps into chains that the packet came back from unchanged, and without what takes marks off."""
    wanted: set[tuple[str, str]] = set()
    kept = []
    for each in reversed(of_hop):
        if each.kind is CauseKind.RULE:
            table, chain, target = _places(each.text)
            if each.effect.endswith(CLEARED):
                continue
            if not each.effect and (table, target) not in wanted:
                continue
            wanted.discard((table, target))
            wanted.add((table, chain))
        kept.append(each)
    return kept[::-1]


def _places(rule: str) -> tuple[str, str, str]:
    """`-t nat -A PREROUTING … -j KUBE-SERVICES` → nat, PREROUTING, KUBE-SERVICES."""
    words = rule.split()
    following = dict(pairwise(words))
    return following.get("-t", "filter"), following.get("-A", ""), following.get("-j", following.get("-g", ""))


def _says_itself(each: Cause) -> bool:
    verdict = each.effect in ("accept", "drop", "reject") or each.effect.startswith(("DNAT to", "redirected"))
    return each.kind is CauseKind.LINK or (each.kind is CauseKind.RULE and verdict)


def nearest(result: TraceResult) -> int | None:
    """The predicted path to show beside the observed one: the matched, or the one it follows longest."""
    if result.matched is not None or not result.prediction.paths:
        return result.matched
    return nearest_path(result.prediction, result.observed)
