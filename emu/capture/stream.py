"""Where frames go while a capture runs: a file, a pipe or a socket that others hold too. A slow reader slows nothing
but the output; one that goes away ends the capture quietly."""

from __future__ import annotations

import fcntl
import os
import select
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from emu.capture.frame import Frame
from emu.capture.pcapng import Writer
from emu.trace.model import CapturePoint

PATIENCE_S = 2.0


class Stream:
    """A sink for `pcapng.Writer`. Raises BrokenPipeError when the reader is gone, or when it takes nothing for
    PATIENCE_S although `hurry` was called. The descriptor stays the caller's."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        mode = os.fstat(fd).st_mode
        self.has_reader = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        self._hurry, self._told = os.pipe2(os.O_CLOEXEC)
        if self.has_reader:
            fcntl.fcntl(fd, fcntl.F_SETFL, self._flags | os.O_NONBLOCK)

    def __call__(self, raw: bytes) -> None:
        rest = memoryview(raw)
        while rest:
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                self._wait()

    def _wait(self) -> None:
        """Until there is room."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        poll.register(self._hurry, select.POLLIN)
        if self.fd in dict(poll.poll()):
            return
        poll.unregister(self._hurry)
        if not poll.poll(PATIENCE_S * 1000):
            raise BrokenPipeError("the reader takes nothing")

    def hurry(self) -> None:
        os.write(self._told, b"!")

    def close(self) -> None:
        """Leaves the descriptor as it was found."""
        if self.has_reader:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, self._flags)
        os.close(self._hurry)
        os.close(self._told)


class Output:
    """pcapng to a descriptor. `over`: nothing more can be written; `error`: why, unless the reader just went away."""

    def __init__(self, fd: int, points: Sequence[CapturePoint], linktypes: Mapping[CapturePoint, int]) -> None:
        self.stream = Stream(fd)
        self.over = False
        self.error: OSError | None = None
        self._writer: Writer | None = None
        self._guard(partial(self._begin, points, linktypes))

    def _begin(self, points: Sequence[CapturePoint], linktypes: Mapping[CapturePoint, int]) -> None:
        self._writer = Writer(self.stream, points, linktypes)

    def add(self, point: CapturePoint, linktype: int) -> None:
        if self._writer:
            self._guard(partial(self._writer.add, point, linktype))

    def write(self, frames: Sequence[Frame]) -> None:
        if self._writer:
            self._guard(partial(self._writer.write, frames))

    def finish(self, drops: Mapping[CapturePoint, int]) -> None:
        if self._writer:
            self._guard(partial(self._writer.finish, drops))
        self.stream.close()

    def _guard(self, action: Callable[[], object]) -> None:
        if self.over:
            return
        try:
            action()
        except BrokenPipeError:
            self.over = True
        except OSError as error:
            self.over, self.error = True, error
