"""When a container that ended is started again. Source: kubernetes pkg/kubelet/kuberuntime (doBackOff), kubelet.go."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S, LONGEST_S = 10, 300
FORGET_S = 2 * LONGEST_S  # a container that ran for so long starts with a clean sheet
RELIST_S = 1.0  # how long the kubelet takes to notice an exit; the first restart follows at once


@dataclass(slots=True)
class Backoff:
    """`window_s` is the time the next restart waits after the exit; 0 before the first."""

    window_s: int = 0
    _restarted: float = 0.0

    def delay(self, now: float) -> float:
        """How long to wait after an exit that happened now."""
        if self.window_s and now - self._restarted > FORGET_S:
            self.window_s = 0
        return self.window_s or RELIST_S

    def restarted(self, now: float) -> None:
        self._restarted = now
        self.window_s = min(2 * self.window_s, LONGEST_S) or FIRST_S


def duration(seconds: int) -> str:
    """Go's form: `10s`, `1m20s`, `5m0s`."""
    return f"{seconds // 60}m{seconds % 60}s" if seconds >= 60 else f"{seconds}s"
