"""A loop for one thread: descriptors to watch (epoll) and moments to wait for."""

from __future__ import annotations

import heapq
import logging
import resource
import select
import time
from collections.abc import Callable
from itertools import count

log = logging.getLogger(__name__)

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
Handler = Callable[[int], None]  # with the epoll events


def allow_many_descriptors() -> None:
    """Raise this process's limit of open files as far as it may: a server holds two or more for every container."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Timer:
    """A call that is due at a moment of the poller's clock. Cancelling it twice, or late, is harmless."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback = when, callback

    def cancel(self) -> None:
        self.callback = _nothing


class Poller:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._running = True

    def watch(self, fd: int, handler: Handler, events: int = READ) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Call it before closing the descriptor. Harmless for one that is not watched."""
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.clock() + delay_s, callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def turn(self, wait_s: float | None = None) -> None:
        """Handle what is ready, waiting for it until the next timer or for `wait_s` at most; then the timers due."""
        for fd, events in self._epoll.poll(self._wait(wait_s)):
            if handler := self._handlers.get(fd):
                handler(events)
        self.run_due()

    def run_due(self) -> None:
        while self._timers and self._timers[0][0] <= self.clock():
            heapq.heappop(self._timers)[2].callback()

    def next_due(self) -> float | None:
        """The moment of the next timer, None without one."""
        while self._timers and self._timers[0][2].callback is _nothing:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def run(self) -> None:
        """Until `stop`. One handler's mistake is logged, and does not end the service to all the others."""
        while self._running:
            try:
                self.turn()
            except Exception:
                log.exception("unexpected")

    def stop(self) -> None:
        self._running = False

    def _wait(self, wait_s: float | None) -> float | None:
        due = self.next_due()
        waits = [each for each in (wait_s, None if due is None else max(0.0, due - self.clock())) if each is not None]
        return min(waits, default=None)


def _nothing() -> None:
    pass
