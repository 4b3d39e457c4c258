"""Network namespaces of Pods made ahead, by a process of its own.

The kernel takes half a millisecond for one, and the sysctls that all have take nearly as long. While a testbed's files
are resolved, which keeps one core busy, another makes them.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from emu.errors import EmuError
from emu.kernel import netns, syscalls, sysctls
from emu.kernel.service import start_service
from emu.plan.model import Sysctl

_BATCH = 16  # descriptors in one message: the kernel takes 253 (SCM_MAX_FD), and holds some 270 messages


class Nursery:
    """Begins when it is made, which must be before the process has any thread; then thread-safe. `sysctls` are set in
    each."""

    def __init__(self, number: int, sysctls: Sequence[Sysctl] = ()) -> None:
        self.sysctls = frozenset(sysctls)
        self._control = start_service("nursery", partial(_grow, number, sysctls), kind=socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._there: list[int] = []

    def take(self) -> int | None:
        """The descriptor of one, which is then the caller's to close; None when there are no more, or never were."""
        with self._lock:
            if not self._there and self._control.fileno() >= 0:
                self._there = socket.recv_fds(self._control, 1, _BATCH)[1]
                if not self._there:
                    self._control.close()
            return self._there.pop() if self._there else None

    def close(self) -> None:
        """What is left, and what is still to come, is gone."""
        with self._lock:
            self._control.close()
            while self._there:
                os.close(self._there.pop())


def _grow(number: int, values: Sequence[Sysctl], control: socket.socket) -> None:
    """Ends early where the kernel refuses (user.max_net_namespaces, descriptors on their way, whoever took them has
    enough): who then makes one meets the same, and says so."""
    procfs = sysctls.Procfs()
    with suppress(OSError, EmuError):
        while number > 0:
            batch = []
            for _ in range(min(number, _BATCH)):
                syscalls.unshare(syscalls.CLONE_NEWNET)
                batch.append(netns.own())
                sysctls.write("nursery", values, procfs)
            socket.send_fds(control, [b"."], batch)
            for fd in batch:
                os.close(fd)
            number -= len(batch)
