"""Counting the packets of a pcapng stream while it is copied.

A block: type and total length (4 bytes each), body, length again; all of them a multiple of 4 bytes long. Ours are
little-endian. Source: draft-ietf-opsawg-pcapng."""

from __future__ import annotations

import os
import struct
from collections import Counter as Counts
from contextlib import suppress

INTERFACE, PACKET = 1, 6
IF_NAME = 2
_HEAD = struct.Struct("<II")
_OPTION = struct.Struct("<HH")


class Counter:
    """`take` copies whole blocks only, so that the file is sound wherever it ends."""

    def __init__(self, file: int, most: int | None = None) -> None:
        self._file, self._most = file, most
        self._unread = bytearray()
        self._names: list[str] = []
        self._counts: Counts[int] = Counts()
        self.packets = 0

    def take(self, data: bytes) -> bool:
        """False when it is enough, or the file takes no more."""
        self._unread += data
        end = 0
        while not self._full and len(self._unread) - end >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._unread, end)
            if len(self._unread) - end < length:
                break
            self._see(kind, self._unread[end : end + length])
            end += length
        whole = bytes(self._unread[:end])
        del self._unread[:end]
        return self._write(whole) and not self._full

    @property
    def _full(self) -> bool:
        return self._most is not None and self.packets >= self._most

    def _see(self, kind: int, block: bytearray) -> None:
        if kind == PACKET:
            self.packets += 1
            self._counts[int.from_bytes(block[8:12], "little")] += 1
        elif kind == INTERFACE:
            self._names.append(_name(block))

    def _write(self, data: bytes) -> bool:
        with suppress(OSError):
            while data:
                data = data[os.write(self._file, data) :]
        return not data

    def by_point(self) -> dict[str, int]:
        return {name: self._counts[index] for index, name in enumerate(self._names)}


def _name(block: bytearray) -> str:
    """Of an interface description: its if_name option. The options begin behind 16 bytes."""
    at = 16
    while at + _OPTION.size <= len(block) - 4:
        code, length = _OPTION.unpack_from(block, at)
        if code == IF_NAME:
            return bytes(block[at + 4 : at + 4 + length]).decode(errors="replace")
        if not code:
            break
        at += 4 + (length + 3) // 4 * 4
    return ""
