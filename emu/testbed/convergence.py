"""Waiting for what daemons bring. Each change of what a plan expects is waited for once: when it has come, or when the
wait was given up, later changes alone are looked at; whether it is still there is for `check` to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from emu.plan.model import NetnsPlan, Plan

SHORTEST_S = 5.0
Absent = Callable[[NetnsPlan, bool], tuple[str, ...]]


class Convergence:
    """`absent` says what a netns lacks, and asks its daemons too if told so."""

    def __init__(self, absent: Absent) -> None:
        self._absent = absent
        self._settled: dict[str, object] = {}  # netns → the expectations that have been waited for

    def within_s(self, plan: Plan) -> float:
        """How long to wait; 0 when there is nothing to wait for."""
        pending = list(self._pending(plan))
        return max(
            (each.within_s for netns in pending for each in netns.expected), default=SHORTEST_S if pending else 0
        )

    def look(self, plan: Plan) -> tuple[str, ...]:
        """What has not come yet, in words."""
        missing: list[str] = []
        for netns in list(self._pending(plan)):
            lacks = self._absent(netns, not netns.expected)  # who brings no routes is known by its signs
            missing += lacks
            if not lacks:
                self._settled[netns.name] = _key(netns)
        return tuple(missing)

    def give_up(self, plan: Plan) -> tuple[str, ...]:
        """The same for the last time, with what the daemons say."""
        pending = list(self._pending(plan))
        self._settled |= {netns.name: _key(netns) for netns in pending}
        return tuple(text for netns in pending for text in self._absent(netns, True))

    def forget(self, names: Iterable[str]) -> None:
        """Wait for these again."""
        for name in names:
            self._settled.pop(name, None)

    def _pending(self, plan: Plan) -> Iterator[NetnsPlan]:
        for netns in plan.netns.values():
            if (netns.daemons or netns.expected) and self._settled.get(netns.name) != _key(netns):
                yield netns


def _key(netns: NetnsPlan) -> object:
    return netns.daemons, netns.expected
