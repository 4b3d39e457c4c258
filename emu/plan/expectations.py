"""What a plan expects beside what it brings about, in words: routes that the kernel will refuse."""

from __future__ import annotations

from emu.plan import render
from emu.plan.model import IPAddress, IPNetwork, NetnsPlan, Plan, Refusal


def told(plan: Plan, most: int = 100) -> tuple[str, ...]:
    """A line for each, up to `most`; then how many more."""
    refused = [(netns.name, refusal) for netns in plan.netns.values() for refusal in netns.refused]
    rest = len(refused) - most
    more = (f"… and {rest} more routes that the kernel refuses (emu check)",) if rest > 0 else ()
    return (*(sentence(*each) for each in refused[:most]), *more)


def sentence(netns: str, refusal: Refusal) -> str:
    command = f"ip route replace {render.route(refusal.route)}"
    return f"{netns}: the kernel refuses {command} ({refusal.error}): {refusal.why}"


def instead(plan: NetnsPlan, taken: IPNetwork, dst: IPAddress) -> str:
    """Behind the effect of the route a packet takes to `dst`: the refused one it would have taken; or ""."""
    for each in plan.refused:
        network = each.route.dst
        if network.version == dst.version and dst in network and network.prefixlen > taken.prefixlen:
            return f", for the kernel refused {render.route(each.route)} ({each.error})"
    return ""
