"""Is a choice even? How far do measurements spread?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median, pstdev

Z_MILLION = 4.75  # of the normal distribution: exceeded once in a million times


def chi_square_limit(freedom: int, z: float = Z_MILLION) -> float:
    """What chi-square exceeds by chance as often as the normal distribution exceeds `z`. Wilson and Hilferty, 1931."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + z * sqrt(part)) ** 3)


def even(counts: Sequence[int]) -> bool:
    """May these be the counts of a fair choice? Wrong about one in a million times."""
    expected = sum(counts) / len(counts)
    if len(counts) < 2 or not expected:
        return True
    return sum((count - expected) ** 2 / expected for count in counts) < chi_square_limit(len(counts) - 1)


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
