"""Work that need not be done again: the same object comes out as long as equal inputs go in."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

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
