"""Which interfaces to capture: selectors → capture points. Every link of a plan is one, but for `lo`.

all · fabric · NODE · node/NAME · pod/NAME · pod/NAMESPACE/NAME · NAMESPACE/NAME, each with `:IFNAME` behind it if only
one interface is meant; a selector with `*` or `?` is matched against the points' own names (`*:cni0`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase

from emu.errors import InputError
from emu.plan.model import Changes, Link, NetnsKind, NetnsPlan, Plan
from emu.trace.model import CapturePoint


def points(plan: Plan, selectors: Iterable[str] = ("all",)) -> tuple[CapturePoint, ...]:
    """The points the selectors choose, each once, in the plan's order. Raises InputError for one that chooses none."""
    every = all_points(plan)
    chosen: set[CapturePoint] = set()
    for selector in selectors:
        found = _select(plan, every, selector)
        if not found:
            raise InputError(f"no interface to capture is called {selector!r}", hint=_hint(plan, every, selector))
        chosen.update(found)
    return tuple(point for point in every if point in chosen)


def new_points(plan: Plan, changes: Changes, selectors: Iterable[str]) -> tuple[CapturePoint, ...]:
    """Those of the selectors whose links the changes have made; a selector may choose none by now."""
    made = {(netns.name, value.name) for netns in changes.netns for value in netns.added if isinstance(value, Link)}
    every = tuple(point for point in all_points(plan) if (point.netns, point.ifname) in made)
    chosen = {point for selector in selectors for point in _select(plan, every, selector)}
    return tuple(point for point in every if point in chosen)


def all_points(plan: Plan) -> tuple[CapturePoint, ...]:
    return tuple(_point(netns, link) for netns in plan.netns.values() for link in netns.links if link.name != "lo")


def _point(netns: NetnsPlan, link: Link) -> CapturePoint:
    return CapturePoint(netns.name, link.name, link.role, link.owner, netns.owner)


def _select(plan: Plan, every: tuple[CapturePoint, ...], selector: str) -> tuple[CapturePoint, ...]:
    if "*" in selector or "?" in selector:
        return tuple(point for point in every if fnmatchcase(str(point), selector))
    if selector == "all":
        return every
    place, _, ifname = selector.partition(":")
    names = {netns.name for netns in plan.netns.values() if place in _spellings(netns)}
    return tuple(point for point in every if point.netns in names and ifname in ("", point.ifname))


def _spellings(netns: NetnsPlan) -> Iterator[str]:
    """What a user may call a netns."""
    if netns.kind is not NetnsKind.POD:
        yield from (netns.owner, f"{netns.kind}/{netns.owner}")
    else:
        yield from (netns.owner, f"pod/{netns.owner}", f"pod/{netns.owner.partition('/')[2]}")


def _hint(plan: Plan, every: tuple[CapturePoint, ...], selector: str) -> str:
    known = ["all", *map(str, every)]
    known += [spelling for netns in plan.netns.values() for spelling in _spellings(netns)]
    near = get_close_matches(selector, known, n=4, cutoff=0.5)
    return f"near it: {', '.join(near)}" if near else "try all, fabric, node1, node1:cni0, pod/NAME, NAMESPACE/NAME"
