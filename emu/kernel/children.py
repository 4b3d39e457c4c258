"""Every child of this process is waited for here: by the `Reaper` where this process is PID 1 (orphans of every Pod's
daemons are its children too), elsewhere by a thread per child."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

OnExit = Callable[[int], None]


class Child:
    """A process in a session of its own. Exit codes are negative for a signal (-9: killed)."""

    def __init__(self, pid: int, name: str, on_exit: OnExit | None) -> None:
        self.pid, self.name, self.on_exit = pid, name, on_exit
        self.code: int | None = None
        self._ended = threading.Event()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Nothing happens if it has ended: the lock keeps the pid from being reaped, and so from being another's."""
        with lock, suppress(ProcessLookupError):  # a group that setsid(1) has not made yet
            if self.code is None:
                (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code, or None when it still runs after `timeout_s`."""
        self._ended.wait(timeout_s)
        return self.code

    def kill(self) -> None:
        self.signal(signal.SIGKILL, group=True)

    def _reaped(self, status: int) -> None:
        self.code = os.waitstatus_to_exitcode(status)
        self._ended.set()


# Held while a child is forked and noted, and while one is reaped: no exit is seen before its child is known.
lock = threading.RLock()
known: dict[int, Child] = {}
forked = threading.Condition(lock)
_reaper: Reaper | None = None


def _after_fork() -> None:
    """A forked copy of this process has none of its children, nor its threads."""
    global _reaper  # noqa: PLW0603
    known.clear()
    _reaper = None
    lock.release()


os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=_after_fork)


class Reaper:
    """Waits for all children of this process, known ones and adopted orphans, until the process ends.

    `on_exit` callbacks run one after another on a thread of their own: one that blocks delays no reaping. (A Pod's
    PID namespace ends only when every process in it has been waited for.)"""

    def __init__(self) -> None:
        global _reaper  # noqa: PLW0603
        _reaper = self
        self._exits: queue.SimpleQueue[Child] = queue.SimpleQueue()
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()
        threading.Thread(target=self._tell, name="exits", daemon=True).start()

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                self._wait_for_a_child()
                continue
            if ended and (child := collect(ended.si_pid)):
                self._exits.put(child)

    def _wait_for_a_child(self) -> None:
        """Without children there are no descendants either, so that the next child can only be one we fork."""
        with forked:
            if not known:
                forked.wait()

    def _tell(self) -> None:
        while True:
            _tell(self._exits.get())


def collect(pid: int) -> Child | None:
    """Reap `pid`, which has ended."""
    with lock:
        child = known.pop(pid, None)
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:  # Popen itself has reaped a child whose exec failed
            return None
        if child:
            child._reaped(status)
        return child


def _tell(child: Child) -> None:
    if child.on_exit:
        try:
            child.on_exit(child.code or 0)
        except Exception:
            log.exception("%s (%d) has ended; telling so failed", child.name, child.pid)


def note(pid: int, name: str, on_exit: OnExit | None) -> Child:
    """Call with the lock held."""
    child = known[pid] = Child(pid, name, on_exit)
    forked.notify()
    return child


def watch(child: Child) -> None:
    """Without a Reaper somebody else's children may be ours too: wait for this one only."""

    def wait() -> None:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        collect(child.pid)
        _tell(child)

    if _reaper is None:
        threading.Thread(target=wait, name=f"wait {child.pid}", daemon=True).start()
