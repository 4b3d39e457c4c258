"""Is a choice even?"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, erfc, exp, factorial, gamma, log, sqrt

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
