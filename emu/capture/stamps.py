"""Makes sure the kernel stamps packets when they pass.

The first socket of a machine that asks for time stamps switches them on, but later: the kernel patches its code in a
work queue. A packet that passes in between is stamped when it is read, which is no order at all. So a datagram is
sent to oneself, in a netns that exists for nothing else, until its stamp is older than the moment after sending."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
import time

from emu.capture.tap import SO_TIMESTAMPNS
from emu.errors import KernelError
from emu.kernel import syscalls

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
_WAIT_NS = 2_000_000_000


def ensure() -> None:
    """Returns when packets are stamped. To be called while a socket that wants stamps is open."""
    outcome: list[bool | OSError] = []
    thread = threading.Thread(target=_probe, args=(outcome,), name="stamps")
    thread.start()
    thread.join()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    if not outcome[0]:
        raise KernelError("the kernel gives packets no time stamps")


def _probe(outcome: list[bool | OSError]) -> None:
    """Runs in a thread of its own, whose netns ends with it."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("=16sH14x", b"lo", IFF_UP))
            outcome.append(_stamped(sock))
    except OSError as error:
        outcome.append(error)


def _stamped(sock: socket.socket) -> bool:
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind(("127.0.0.1", 0))
    deadline_ns = time.monotonic_ns() + _WAIT_NS
    while time.monotonic_ns() < deadline_ns:
        sock.sendto(b"?", sock.getsockname())
        sent_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(16))
        seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
        if seconds * 1_000_000_000 + nanoseconds <= sent_ns:
            return True
        os.sched_yield()
    return False
