"""Network namespaces made ahead, by a process of its own.

The kernel takes half a millisecond for one, and needs to know nothing of what it will be. While a testbed's files are
resolved, which keeps one core busy, another makes them.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from functools import partial

from emu.kernel import netns, syscalls
from emu.kernel.service import start_service

_BATCH = 16  # descriptors in one message: the kernel takes 253 (SCM_MAX_FD), and holds some 270 messages


class Nursery:
    """Begins when it is made, which must be before the process has any thread. Thread-safe."""

    def __init__(self, number: int) -> None:
        self._control = start_service("nursery", partial(_grow, number), kind=socket.SOCK_SEQPACKET)
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


def _grow(number: int, control: socket.socket) -> None:
    """Ends early where the kernel refuses (user.max_net_namespaces, descriptors on their way, whoever took them has
    enough): who then makes one meets the same, and says so."""
    with suppress(OSError):
        while number > 0:
            batch = []
            for _ in range(min(number, _BATCH)):
                syscalls.unshare(syscalls.CLONE_NEWNET)
                batch.append(netns.own())
            socket.send_fds(control, [b"."], batch)
            for fd in batch:
                os.close(fd)
            number -= len(batch)
