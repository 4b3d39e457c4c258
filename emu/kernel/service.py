"""Services: single-threaded server processes forked off the testbed's own before it has any thread."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import NoReturn

from emu.kernel import children, syscalls

log = logging.getLogger(__name__)


def start_service(name: str, main: Callable[[socket.socket], None], *, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Fork a server process and return our end of its control socket (a Unix socket pair of `kind`, so that file
    descriptors can be sent along: STREAM has no limit on a message's size, SEQPACKET keeps messages apart).

    Call it before any thread is started: a fork copies the calling thread alone, and every lock as it stands. The
    service has no other open file and ends when `main` returns, which it should when the control socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    gc.freeze()  # the collector would write to, and so copy, every page shared with the child
    sys.stdout.flush()
    sys.stderr.flush()
    with children.lock:
        pid = os.fork()
        if pid:
            children.note(pid, name, lambda code: _ended(name, code))
    if not pid:
        _serve(name, main, theirs)
    theirs.close()
    return ours


class ServiceStarter:
    """Starts a server process whenever one is wanted, from any thread: a process that never has threads, made as
    `start_service` makes one, forks them."""

    def __init__(self, name: str, main: Callable[[socket.socket], None]) -> None:
        self._control = start_service(f"{name} starter", partial(_start_when_asked, name, main))

    def start(self) -> socket.socket:
        """Our end of the new one's control socket, a stream. It is closed at the other end when the process ends.
        Raises OSError when the starter itself has been killed."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"."], [theirs.fileno()])
        return ours


def _start_when_asked(name: str, main: Callable[[socket.socket], None], control: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    while fds := socket.recv_fds(control, 1, 1)[1]:
        theirs = socket.socket(fileno=fds[0])
        if not os.fork():
            control.close()
            _serve(name, main, theirs)
        theirs.close()


def _ended(name: str, code: int) -> None:
    if code:
        log.error("service %s has ended, status %d", name, code)


def _serve(name: str, main: Callable[[socket.socket], None], control: socket.socket) -> NoReturn:
    code = 1
    try:
        os.setsid()
        title = ctypes.create_string_buffer(f"emu {name}".encode()[:15])
        syscalls.prctl(syscalls.PR_SET_NAME, ctypes.addressof(title))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        close_files(keep=(0, 1, 2, control.fileno()))
        main(control)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def close_files(keep: Collection[int]) -> None:
    """Close every open file but those."""
    for fd in [int(entry) for entry in os.listdir("/proc/self/fd")]:
        if fd not in keep:
            with suppress(OSError):  # the directory just listed
                os.close(fd)
