"""The client's side of attach.sock: our file descriptors go into the lab, the end of the work comes back."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from emu.cli.client import Client, error_of
from emu.errors import EmuError

Request = Mapping[str, Any]
Progress = Callable[[str, int, int], None]
Started = Callable[[Sequence[str]], None]


class Attachment:
    """One request under way."""

    def __init__(self, client: Client, request: Request, fds: Sequence[int]) -> None:
        self._socket = client.attach()
        self._unread = b""
        socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], list(fds))

    def fileno(self) -> int:
        return self._socket.fileno()

    def end(self) -> None:
        """Ask for the end; the result still comes."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def result(self, progress: Progress = lambda *_: None, started: Started = lambda _: None) -> Any:
        """Wait for it. Raises what the server raised."""
        while True:
            message = self._message()
            if "result" in message:
                return message["result"]
            if message.get("kind") == "Status":
                raise error_of(message)
            if "progress" in message:
                progress(*message["progress"])
            if "started" in message:
                started(message["started"])

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._unread:
            data = self._socket.recv(1 << 20)
            if not data:
                raise EmuError("the testbed has ended", hint="emu ls")
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message


def direct(client: Client, request: Request, *, stdin: bool) -> int:
    """Run with our own three descriptors; without `stdin`, it reads nothing. The exit status."""
    with open(os.devnull) as null:
        attachment = Attachment(client, request, (0 if stdin else null.fileno(), 1, 2))
    return int(attachment.result() or 0)


def terminal(client: Client, request: Request) -> int:
    """Run on a terminal of its own that this one shows: raw mode, its size kept the same. The exit status."""
    master, slave = os.openpty()
    _copy_size(master)
    attachment = Attachment(client, {**request, "tty": True}, (slave, slave, slave))
    os.close(slave)
    with _raw(), _following_size(master):
        _shuttle(master, attachment)
    os.close(master)
    return int(attachment.result() or 0)


def prompt(client: Client) -> int:
    """The Mininet prompt on this terminal. Lines from a file or a pipe are a script: at its prompt Mininet hands what
    it can read to the command that runs, and a pipe's next line would be taken for a key."""
    if os.isatty(0):
        return terminal(client, {"do": "prompt"})
    return direct(client, {"do": "prompt", "script": sys.stdin.read()}, stdin=False)


def _copy_size(master: int) -> None:
    with suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, struct.pack("4H", 0, 0, 0, 0)))


@contextmanager
def _following_size(master: int) -> Iterator[None]:
    """The kernel tells the program inside: SIGWINCH goes to the foreground of the terminal whose size changes."""

    def changed(_: int, __: FrameType | None) -> None:
        _copy_size(master)

    before = signal.signal(signal.SIGWINCH, changed)
    _copy_size(master)  # of before there was anybody to tell
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _raw() -> Iterator[None]:
    """Every key goes through, Ctrl-C too: the other terminal makes the signal of it."""
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _shuttle(master: int, attachment: Attachment) -> None:
    """Until the program has ended and what it printed is printed. A program that stays in the background and keeps
    the terminal open does not hold us: the result on the attachment's socket ends it too."""
    sys.stdout.flush()
    sources = [0, master, attachment.fileno()]
    while True:
        ready = select.select(sources, [], [])[0]
        if 0 in ready:
            typed = os.read(0, 65536)
            if not typed:
                sources.remove(0)
                typed = b"\x04"  # end of file, as the terminal's own line discipline understands it
            _write(master, typed)
        if master in ready and not _pass_on(master):
            return
        if attachment.fileno() in ready and master not in ready:
            while select.select([master], [], [], 0)[0] and _pass_on(master):
                pass
            return


def _pass_on(master: int) -> bool:
    """False at the end: EIO says that nobody holds the slave any more."""
    try:
        data = os.read(master, 65536)
    except OSError:
        return False
    _write(1, data)
    return bool(data)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
