"""A `Kernel` that only remembers what it was asked, for tests of those who ask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from emu.kernel.netns import Netns
from emu.plan.drift import Drift
from emu.plan.model import Changes, IPAddress, NetnsPlan, Plan


@dataclass(slots=True)
class FakeKernel:
    """`actual` is what `read` finds: the applied plan, unless a test puts something else there."""

    lab: str = "fake"
    applied: list[Changes] = field(default_factory=list)
    repaired: list[Drift] = field(default_factory=list)
    flushed: list[tuple[str, IPAddress | None, IPAddress | None, int]] = field(default_factory=list)
    actual: dict[str, NetnsPlan] = field(default_factory=dict)
    closed: bool = False

    def apply(self, changes: Changes, new: Plan) -> None:
        self.applied.append(changes)
        self.actual = dict(new.netns)

    def read(self, plan: NetnsPlan) -> NetnsPlan:
        return self.actual[plan.name]

    def repair(self, drifts: Iterable[Drift]) -> None:
        self.repaired += drifts

    def netns(self, name: str) -> Netns:
        return Netns(name, -1)

    def flush_conntrack(
        self,
        name: str,
        *,
        orig_dst: IPAddress | None = None,
        dst_nat: IPAddress | None = None,
        dport: int = 0,
    ) -> int:
        self.flushed.append((name, orig_dst, dst_nat, dport))
        return 0

    def close(self) -> list[Exception]:
        self.closed = True
        return []
