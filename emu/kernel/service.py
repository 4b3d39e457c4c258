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
