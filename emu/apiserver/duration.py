"""AGE. Source: k8s.io/apimachinery pkg/util/duration, HumanDuration."""

from __future__ import annotations

import time
from calendar import timegm

SECOND, MINUTE, HOUR, DAY, YEAR = 1, 60, 3600, 86400, 365 * 86400
UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "y": YEAR}


def human(seconds: float) -> str:
    """Two units where the second still matters: 119s, 9m59s, 5h30m, 2d3h, 3y100d."""
    if seconds < -1:
        return "<invalid>"
    whole = max(0, int(seconds))
    if whole < 2 * MINUTE:
        return f"{whole}s"
    if whole < 3 * HOUR:
        return _two(whole, "m", "s", 10 * MINUTE)
    if whole < 2 * DAY:
        return _two(whole, "h", "m", 8 * HOUR)
    if whole < 2 * YEAR:
        return _two(whole, "d", "h", 8 * DAY)
    return _two(whole, "y", "d", 8 * YEAR)


def _two(seconds: int, unit: str, small: str, until: int) -> str:
    rest = seconds % UNITS[unit] // UNITS[small]
    return f"{seconds // UNITS[unit]}{unit}" + (f"{rest}{small}" if rest and seconds < until else "")


def epoch(timestamp: str) -> float:
    """Of an RFC 3339 time as Kubernetes writes them: UTC, whole seconds, or with a fraction."""
    return timegm(time.strptime(timestamp[:19], "%Y-%m-%dT%H:%M:%S"))


def since(timestamp: str, now: float | None = None) -> str:
    if not timestamp:
        return "<unknown>"
    return human((time.time() if now is None else now) - epoch(timestamp))
