"""What a plan expects beside what it brings about, in words: routes that the kernel will refuse, and those that
daemons will bring."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from emu.plan import diff, render
from emu.plan.model import Daemon, Expected, IPAddress, IPNetwork, NetnsPlan, Plan, Refusal, Route


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


def has_come(expected: Expected, routes: Mapping[object, Route]) -> bool:
    """`routes` by `diff.key`. Somebody else's route to the same place is not the daemon's."""
    wanted, got = expected.route, routes.get(diff.key(expected.route))
    same = ("type", "via", "src", "scope", "onlink", "protocol")
    return got is not None and all(getattr(wanted, f) == getattr(got, f) for f in same) and wanted.dev in ("", got.dev)


def absent_routes(plan: NetnsPlan, routes: Iterable[Route]) -> tuple[str, ...]:
    have = {diff.key(route): route for route in routes}
    return tuple(
        f"{plan.name}: {each.by} has not brought {render.route(each.route)}"
        for each in plan.expected
        if not has_come(each, have)
    )


def absent_signs(plan: NetnsPlan, daemons: Collection[Daemon], stopped: Mapping[str, str]) -> tuple[str, ...]:
    """`daemons`: those that run, with the signs they show. `stopped`: how others have ended."""
    return tuple(_absent_signs(plan, {daemon.name: daemon for daemon in daemons}, stopped))


def _absent_signs(plan: NetnsPlan, running: Mapping[str, Daemon], stopped: Mapping[str, str]) -> Iterator[str]:
    for daemon in plan.daemons:
        if daemon.name not in running:
            yield f"{plan.name}: {daemon.name} does not run ({stopped.get(daemon.name, 'it was never started')})"
            continue
        shown = running[daemon.name].signs
        yield from (f"{plan.name}: no {sign.what}" for sign in daemon.signs if sign not in shown)
