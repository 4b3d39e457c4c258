"""Remember results by the identity of their arguments: values are immutable, so the same object means the same answer.

Comparing or hashing a Pod costs more than most of what is computed from it; `id()` costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Result = TypeVar("Result")


def by_identity(function: Callable[..., Result], size: int = 8192) -> Callable[..., Result]:
    """`function` must be pure and take positional arguments only. The arguments are kept alive with the result, so
    that no `id` is used twice. Two generations: what is not asked for during `size` new entries is forgotten."""
    young: dict[tuple[int, ...], tuple[Any, Result]] = {}
    old: dict[tuple[int, ...], tuple[Any, Result]] = {}

    @wraps(function)
    def remembered(*args: Any) -> Result:
        nonlocal young, old
        key = tuple(map(id, args))
        hit = young.get(key)
        if hit is None:
            hit = old.get(key) or (args, function(*args))
            if len(young) >= size:
                young, old = {}, young
            young[key] = hit
        return hit[1]

    return remembered
