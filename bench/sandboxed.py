"""Measure in a sandbox: a fork as PID 1 of new namespaces, which ends with all it has made. The machine is not touched.

The kernel clears namespaces away after their last process has gone, and holds the locks that the next measurement
needs: so each waits until the one before it is gone."""

from __future__ import annotations

import os
import pickle
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from emu.kernel import syscalls

T = TypeVar("T")

_KINDS = (
    syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
)
_GONE_S = 5.0  # 1,000 namespaces are gone after 1.5 s
_FEW = 200  # free objects that the slab still counts, and what others on this machine do meanwhile


class Failed(SystemExit):
    """There is no measurement, and why. Who does not mind ends with that."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`wall_s` is of what was measured, the CPU times of all that was done for it, by all its processes."""

    wall_s: float
    user_s: float
    system_s: float

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


class Clock:
    """Runs while it is entered, as often as it is. CPU times are this process's, with children that have ended."""

    def __init__(self) -> None:
        self.cost = Cost(0.0, 0.0, 0.0)
        self._start = self.cost

    def __enter__(self) -> None:
        self._start = self._now()

    def __exit__(self, *_: object) -> None:
        before, now, first = self.cost, self._now(), self._start
        self.cost = Cost(
            before.wall_s + now.wall_s - first.wall_s,
            before.user_s + now.user_s - first.user_s,
            before.system_s + now.system_s - first.system_s,
        )

    @staticmethod
    def _now() -> Cost:
        times = os.times()
        return Cost(time.perf_counter(), times.user + times.children_user, times.system + times.children_system)


def cost(measure: Callable[[], float]) -> Cost:
    """`measure` gives seconds."""

    def inside() -> Cost:
        wall_s, times = measure(), os.times()
        return Cost(wall_s, times.user + times.children_user, times.system + times.children_system)

    return call(inside)


def call(measure: Callable[[], T]) -> T:
    """What `measure` returns (picklable), from inside; then everything it has left is gone. Raises Failed."""
    before = namespaces()
    reader, writer = os.pipe()
    outer = os.fork()
    if not outer:
        os.close(reader)
        _outer(measure, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        raw = stream.read()
    os.waitpid(outer, 0)
    until_gone(before)
    done, found = pickle.loads(raw) if raw else (False, "it ended without a result")
    if not done:
        raise Failed(found)
    result: T = found
    return result


def until_gone(before: int) -> None:
    """Wait until there are no more network namespaces than before, about; or not for long, as others may make some."""
    deadline = time.monotonic() + _GONE_S
    while namespaces() > before + _FEW and time.monotonic() < deadline:
        time.sleep(0.05)


def namespaces() -> int:
    """Network namespaces of the machine, about."""
    for line in Path("/proc/slabinfo").read_text().splitlines():
        if line.startswith("net_namespace "):
            return int(line.split()[1])
    return 0


def _outer(measure: Callable[[], Any], writer: int) -> NoReturn:
    try:
        syscalls.unshare(_KINDS)
        inner = os.fork()
        if not inner:
            _inner(measure, writer)
        os.close(writer)
        os.waitpid(inner, 0)
    finally:
        os._exit(0)


def _inner(measure: Callable[[], Any], writer: int) -> NoReturn:
    try:
        syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("proc", "/proc", "proc")
        syscalls.mount("tmpfs", "/run", "tmpfs")
        syscalls.mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=666")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
        told: tuple[bool, Any] = True, measure()
    except BaseException as error:
        traceback.print_exc()
        told = False, f"{type(error).__name__}: {error}"
    try:
        with os.fdopen(writer, "wb") as stream:
            stream.write(pickle.dumps(told))
    finally:
        os._exit(0)
