"""What a plan expects beside what it brings about, in words: routes that the kernel will refuse."""

from __future__ import annotations

from collections.abc import Iterator

from emu.plan import render
from emu.plan.model import IPAddress, NetnsPlan, Plan, Refusal

MOST_LINES = 8


def told(plan: Plan) -> tuple[str, ...]:
    """A line for each, up to `MOST_LINES`; then how many more."""
    lines = [sentence(netns.name, refusal) for netns in plan.netns.values() for refusal in netns.refused]
    rest = len(lines) - MOST_LINES
    return (*lines[:MOST_LINES], *((f"… and {rest} more routes are refused",) if rest > 0 else ()))


def sentence(netns: str, refusal: Refusal) -> str:
    command = f"ip route replace {render.route(refusal.route)}"
    return f"{netns}: the kernel refuses {command} ({refusal.error}): {refusal.why}"


def towards(plan: NetnsPlan, dst: IPAddress) -> Iterator[Refusal]:
    """Those that would have carried a packet to `dst`."""
    return (each for each in plan.refused if each.route.dst.version == dst.version and dst in each.route.dst)
