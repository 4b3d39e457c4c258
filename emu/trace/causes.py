"""Causes as values: what a rule did, which of them stand before the choice of a route, and what those of the last hop
say of a packet's end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from emu.trace.addresses import to_endpoint
from emu.trace.changed import connection_marked, endpoint, marked, redirected, ttl_set
from emu.trace.model import Cause, CauseKind, Headers, Hop, Leg, Verdict

_BASE_CHAIN = re.compile(r"-[AP] (INPUT|FORWARD|POSTROUTING)\b")
CHANGED = "source is changed"

NO_WAY = "dropped"
DNAT = "DNAT to "


def in_order(rules: Sequence[Cause], rest: Sequence[Cause]) -> tuple[Cause, ...]:
    """PREROUTING comes before the choice of a route, the other hooks behind it."""
    before, behind = up_to(rules)
    routes = next((at for at, cause in enumerate(rest) if cause.kind is CauseKind.ROUTE), -1) + 1
    return (*before, *rest[:routes], *behind, *rest[routes:])


def sent_on(rules: Sequence[Cause], seen: Headers) -> Headers | None:
    """The packet behind a rule that changed its destination; no later hop shows it where it ends here."""
    for cause in rules:
        if cause.effect.startswith(DNAT):
            return to_endpoint(cause.effect.removeprefix(DNAT), seen)
    return None


def up_to(rules: Sequence[Cause]) -> tuple[tuple[Cause, ...], tuple[Cause, ...]]:
    """The rules of PREROUTING, and those of the hooks behind it."""
    later = (at for at, cause in enumerate(rules) if _BASE_CHAIN.search(cause.text))
    at = next(later, len(rules))
    return tuple(rules[:at]), tuple(rules[at:])


def telling(cause: Cause, hop: Hop, after: Hop | None) -> Cause:
    """A masquerade's rule does not say which address it took; the next hop shows it."""
    if cause.effect != CHANGED or after is None or endpoint_of(hop.inner) == (shown := endpoint_of(after.inner)):
        return cause
    return replace(cause, effect=f"source becomes {shown}")


def endpoint_of(headers: Headers) -> str:
    return endpoint(headers.src, headers.sport if headers.dport else 0)


def ended(leg: Leg) -> Leg:
    """Seen last coming in: delivered if it is for an address there and no rule dropped it."""
    last = leg.hops[-1]
    taken = any(cause.kind is CauseKind.LOCAL for cause in last.causes)
    refused = {cause.effect for cause in last.causes if cause.kind is CauseKind.RULE} & {"drop", "reject"}
    if leg.verdict is not Verdict.DELIVERED or (taken and not refused):
        return leg
    if "reject" in refused:
        return replace(leg, verdict=Verdict.REJECTED, reason=f"refused by a rule of {last.point.label}")
    nowhere = next((cause.text for cause in last.causes if cause.effect == NO_WAY), "")
    where = last.point.label or last.point.netns
    reason = f"{where} has {nowhere}" if nowhere else f"last seen entering {last.point}"
    return replace(leg, verdict=Verdict.DROPPED, reason=reason)


def some(kind: CauseKind, netns: str, text: str, effect: str) -> Iterator[Cause]:
    if text:
        yield caused(kind, netns, text, effect)


def caused(kind: CauseKind, netns: str, text: str, effect: str) -> Cause:
    return Cause(kind=kind, netns=netns, text=text, effect=effect)


def effect_of(line: str) -> str:
    """What a rule did, from its text: `DNAT to 10.244.2.3:80`; "" for a jump."""
    target, _, options = line.partition(" -j ")[2].partition(" ")
    match target:
        case "DNAT":
            return f"{DNAT}{options.split()[-1]}"
        case "REDIRECT":
            return redirected(options)
        case "MASQUERADE" | "SNAT":
            return CHANGED
        case "MARK":
            return marked(options)
        case "CONNMARK":
            return connection_marked(options)
        case "TTL":
            return ttl_set(options)
        case "NOTRACK":
            return "not tracked"
        case "ACCEPT" | "DROP" | "REJECT":
            return target.lower()
    return ""
