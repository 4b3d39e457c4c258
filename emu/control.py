"""Messages with file descriptors between the testbed and its server processes, over a Unix stream socket.

A message is a dict of plain values, pickled: both ends are the same program, and the socket is a pair that nobody else
can open. A frame goes out in pieces that also fit a sequenced-packet socket; descriptors ride on its first piece.
"""

from __future__ import annotations

import pickle
import socket
import struct
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

PIECE = 60 * 1024  # bytes
FDS_MAX = 250  # the kernel's SCM_MAX_FD is 253
_FDS_SPACE = socket.CMSG_LEN(FDS_MAX * array("i").itemsize)
_LENGTH = struct.Struct("!IH")  # of the body in bytes, and how many descriptors came with it

Message = Mapping[str, Any]


class Channel:
    """One end. Sending is safe from several threads; receiving belongs to one."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self.sock = sock
        self._lock = Lock()
        self._bytes = bytearray()
        self._fds: deque[int] = deque()
        self._open = True

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Raises OSError when the other end is gone. The caller keeps (and closes) its own descriptors."""
        body = pickle.dumps(dict(message), protocol=5)
        frame = memoryview(_LENGTH.pack(len(body), len(fds)) + body)
        with self._lock:
            sent = socket.send_fds(self.sock, [frame[:PIECE]], list(fds)) if fds else self.sock.send(frame[:PIECE])
            while sent < len(frame):
                sent += self.sock.send(frame[sent : sent + PIECE])

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and its descriptors, waiting for it; None when the other end is closed."""
        while (complete := self._take()) is None and self._open:
            self._read(0)
        return complete

    def waiting(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """The messages that are there, without waiting. `closed` tells afterwards whether more can come."""
        while self._open and self._read(socket.MSG_DONTWAIT):
            pass
        while complete := self._take():
            yield complete

    @property
    def closed(self) -> bool:
        return not self._open

    def close(self) -> None:
        self._open = False
        self.sock.close()

    def _read(self, flags: int) -> bool:
        try:
            # Not socket.recv_fds: in Python 3.11 it drops the flags.
            data, parts, _, _ = self.sock.recvmsg(PIECE, _FDS_SPACE, flags | socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data, parts = b"", []
        self._bytes += data
        for _level, _type, packed in parts:
            self._fds.extend(array("i", packed))
        self._open = bool(data)
        return self._open

    def _take(self) -> tuple[dict[str, Any], list[int]] | None:
        if len(self._bytes) < _LENGTH.size:
            return None
        length, count = _LENGTH.unpack_from(self._bytes)
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        message = pickle.loads(self._bytes[_LENGTH.size : end])
        del self._bytes[:end]
        return message, [self._fds.popleft() for _ in range(count)]
