"""The sentences and lines every report shares."""

from __future__ import annotations

from collections.abc import Sequence

from emu.trace.changed import flow_text
from emu.trace.compare import nearest_path
from emu.trace.model import Cause, CauseKind, Direction, Flow, Headers, Hop, Leg, TraceResult, Verdict

ARROW = {Direction.IN: "→|", Direction.OUT: "|→"}


def title(flow: Flow) -> str:
    asked = f"{flow.netns} → {flow.dst}{f':{flow.dport}' if flow.dport else ''} ({flow.proto})"
    return f"{flow.label} ({flow.proto})" if flow.label else asked


def outcome(result: TraceResult) -> str:
    """One sentence: is the observed path a predicted one?"""
    total = len(result.prediction.paths)
    if result.matched is None:
        return result.difference.what if result.difference else "nothing was predicted"
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


def packet(headers: Headers) -> str:
    """`10.244.1.2:40000 → 10.96.0.10:53 udp ttl 64 SYN`."""
    note = f"  {headers.note}" if headers.note else ""
    return f"{flow_text(headers)}  {headers.proto} ttl {headers.ttl}{note}"


def tunnel(hop: Hop) -> str:
    """The outer headers; "" outside a tunnel."""
    if hop.encapsulation is None:
        return ""
    outer = hop.encapsulation
    vni = f" {outer.vni}" if outer.vni else ""
    return f"{outer.kind.upper()}{vni} in {flow_text(outer.outer)}  {outer.outer.proto} ttl {outer.outer.ttl}"


def causes(hop_or_origin: Sequence[Cause]) -> list[tuple[str, str, str]]:
    """(kind, text, effect) of each; the jumps that led to a rule are told in one line."""
    told: list[tuple[str, str, str]] = []
    jumps: list[str] = []
    for each in hop_or_origin:
        if each.kind is CauseKind.RULE and not each.effect:
            jumps += _jump(each.text)
            continue
        if each.kind is CauseKind.RULE and jumps:
            told.append(("chain", " → ".join(dict.fromkeys(jumps)), ""))
        jumps = [] if each.kind is CauseKind.RULE else jumps
        told.append((str(each.kind), each.text, "" if _says_itself(each) else each.effect))
    return told


def _says_itself(each: Cause) -> bool:
    verdict = each.effect in ("accept", "drop", "reject") or each.effect.startswith("DNAT to")
    return each.kind is CauseKind.LINK or (each.kind is CauseKind.RULE and verdict)


def _jump(rule: str) -> list[str]:
    """`-t nat -A PREROUTING … -j KUBE-SERVICES` → [PREROUTING, KUBE-SERVICES]; [] for a RETURN."""
    words = rule.split()
    target = rule.rpartition(" -j ")[2].split()[:1] if " -j " in rule else []
    if target in ([], ["RETURN"]) or "-A" not in words:
        return []
    return [words[words.index("-A") + 1], *target]


def nearest(result: TraceResult) -> int | None:
    """The predicted path to show beside the observed one: the matched, or the one it follows longest."""
    if result.matched is not None or not result.prediction.paths:
        return result.matched
    return nearest_path(result.prediction, result.observed)
