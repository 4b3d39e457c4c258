"""A line that says what is going on: on a terminal only, and not before it has taken half a second."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType

AFTER_S = 0.5
BAR = 24


class Progress:
    """Call it with (what, done, total); total 0 when unknown. Clears its line at the end."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._since = time.monotonic()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None:
        if not self._on or (not self._shown and time.monotonic() - self._since < AFTER_S):
            return
        self._shown = True
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{line(text, done, total)[:width]}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def line(text: str, done: int, total: int) -> str:
    if not total:
        return f"{text} …"
    full = BAR * min(done, total) // total
    return f"[{'#' * full}{'.' * (BAR - full)}] {done}/{total}  {text}"
