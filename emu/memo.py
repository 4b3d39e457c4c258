"""Work that need not be done again: the same object comes out as long as the same inputs go in.

`Memo` compares its inputs. `by_identity` knows them by `id` alone: comparing or hashing a Pod costs more than most of
what is computed from it, and values are immutable, so that the same object means the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """Remembers the last result of `make` for each key, and gives it again while the inputs are equal.

    Inputs are compared, never hashed: an unchanged one is the same object, and comparing it costs nothing.
    The oldest of more than `size` keys is forgotten."""

    def __init__(self, make: Callable[..., T], size: int = 4096) -> None:
        self._make, self._size = make, size
        self._kept: dict[Hashable, tuple[tuple[object, ...], T]] = {}
        self._lock = Lock()

    def __call__(self, key: Hashable, *inputs: object) -> T:
        kept = self._kept.get(key)
        if kept is not None and kept[0] == inputs:
            return kept[1]
        value = self._make(*inputs)
        with self._lock:
            self._kept.pop(key, None)
            if len(self._kept) >= self._size:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (inputs, value)
        return value


def by_identity(function: Callable[..., T], size: int = 8192) -> Callable[..., T]:
    """`function` must be pure and take positional arguments only. The arguments are kept alive with the result, so
    that no `id` is used twice. Two generations: what is not asked for during `size` new entries is forgotten."""
    young: dict[tuple[int, ...], tuple[Any, T]] = {}
    old: dict[tuple[int, ...], tuple[Any, T]] = {}

    @wraps(function)
    def remembered(*args: Any) -> T:
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
