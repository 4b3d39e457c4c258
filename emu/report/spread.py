"""How far measurements spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, pstdev


@dataclass(frozen=True, slots=True)
class Spread:
    count: int
    least: float
    median: float
    p95: float
    most: float
    deviation: float

    def figures(self) -> dict[str, float]:
        return {"median": self.median, "least": self.least, "p95": self.p95, "most": self.most, "sd": self.deviation}


def spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return Spread(len(ordered), ordered[0], median(ordered), p95, ordered[-1], pstdev(ordered))


def shown(of: Spread, unit: str) -> str:
    return (
        f"median {of.median:.0f} {unit} of {of.count}: "
        f"least {of.least:.0f}, 95 % under {of.p95:.0f}, most {of.most:.0f}, standard deviation {of.deviation:.0f}"
    )
