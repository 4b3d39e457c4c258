"""Is a choice even? How far do measurements spread?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, erfc, exp, factorial, gamma, log, sqrt
from statistics import median, pstdev

MILLION = 1e-6  # a chance that is none


def chance(chi_square: float, freedom: int) -> float:
    """That a fair choice gives this chi-square or more. The exact sums; Abramowitz and Stegun 26.4.4 and 26.4.5."""
    half = chi_square / 2
    if freedom % 2:
        terms = (half ** (i - 0.5) / gamma(i + 0.5) for i in range(1, (freedom - 1) // 2 + 1))
        return erfc(sqrt(half)) + exp(-half) * sum(terms)
    return exp(-half) * sum(half**i / factorial(i) for i in range(freedom // 2))


def even(counts: Sequence[int]) -> bool:
    """May these be the counts of a fair choice?"""
    expected = sum(counts) / len(counts)
    if len(counts) < 2 or not expected:
        return True
    return chance(sum((count - expected) ** 2 / expected for count in counts), len(counts) - 1) > MILLION


def tries(choices: int) -> int:
    """How many a fair choice needs until not one of the choices is left out, but by a chance that is none."""
    return 1 if choices < 2 else ceil(log(MILLION / choices) / log(1 - 1 / choices))


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
