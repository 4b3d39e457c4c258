"""Hand-packed rtnetlink: many requests in one send, one answer for all, errors with the kernel's own words.

The kernel carries out a send's requests in order, within the call, and answers a request that failed even when it
asked for no acknowledgement. So only the last request of a send asks for one: when it comes, all are done.
`pyroute2` call by call costs 3.5 ms a Pod; this costs the kernel's own time and some 10 µs a request.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
# Below the default send buffer (net.core.wmem_default, 212992 bytes), which bounds one send.
_MAX_SEND = 131072
_RECEIVE = 262144
_SO_RCVBUFFORCE, _QUEUE = 33, 8 << 20


class Request(NamedTuple):
    """One message without its header."""

    kind: int  # RTM_*
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """Request number `index` was refused; `text` is the kernel's explanation, often empty."""

    index: int
    errno: int
    text: str = ""

    def __str__(self) -> str:
        said = os.strerror(self.errno)
        return f"RTNETLINK says {said} ({self.text.rstrip('.')})" if self.text else f"RTNETLINK says {said}"


def message(request: Request, sequence: int = 0) -> bytes:
    kind, flags, body = request
    return _HEADER.pack(len(body) + 16, kind, flags | NLM_F_REQUEST, sequence, 0) + body


def attr(kind: int, payload: bytes) -> bytes:
    length = len(payload)
    return _ATTR.pack(length + 4, kind) + payload + _PADDING[length & 3]


def attr_u8(kind: int, value: int) -> bytes:
    return attr(kind, bytes((value,)))


def attr_u32(kind: int, value: int) -> bytes:
    return _ATTR.pack(8, kind) + _U32.pack(value)


def attr_text(kind: int, value: str) -> bytes:
    return attr(kind, value.encode() + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    return attr(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(raw: bytes) -> dict[int, bytes]:
    """The attributes in `raw`, by type; of a repeated one the last."""
    return dict(_attributes(raw))


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(raw):
        length, kind = _ATTR.unpack_from(raw, offset)
        if length < 4:
            return
        yield kind & _NLA_TYPE_MASK, raw[offset + 4 : offset + length]
        offset += (length + 3) & ~3


#: For what takes the kernel's lock of all links (rtnl). Some sysctls only try it, and when another has it start anew
#: at once (rtnl_trylock, restart_syscall): beside a thread that makes links, their writer would keep a core busy.
RTNL = threading.Lock()


class Connection:
    """A netlink socket; it stays in the namespace it was made in."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._sequence = 1
        # Refusals carry the kernel's words, and not a copy of the whole request.
        sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)

    def close(self) -> None:
        self.sock.close()

    def execute(self, requests: Sequence[Request]) -> list[Failure]:
        """Carry out all, in order; a refused one does not stop those after it."""
        failures: list[Failure] = []
        start = 0
        while start < len(requests):
            end, size = start, 0
            while end < len(requests) and (end == start or size + len(requests[end].body) < _MAX_SEND):
                size += len(requests[end].body) + _HEADER.size
                end += 1
            failures += self._send(requests[start:end], start)
            start = end
        return failures

    def _send(self, requests: Sequence[Request], offset: int) -> list[Failure]:
        first = self._sequence
        last = first + len(requests) - 1
        self._sequence = last + 1
        parts: list[bytes] = []
        for sequence, (kind, flags, body) in enumerate(requests, first):
            flags |= NLM_F_REQUEST | NLM_F_ACK if sequence == last else NLM_F_REQUEST
            parts += (_HEADER.pack(len(body) + 16, kind, flags, sequence, 0), body)
        raw = b"".join(parts)
        with RTNL:
            self.sock.send(raw)
        failures: list[Failure] = []
        while True:
            for sequence, error, text in self.answers():
                if error and sequence >= first:
                    failures.append(Failure(offset + sequence - first, error, text))
                if sequence == last:
                    return failures

    def answers(self) -> Iterator[tuple[int, int, str]]:
        """(sequence, errno, text) of each acknowledgement in one receive."""
        for kind, flags, sequence, body in messages(self.sock.recv(_RECEIVE)):
            if kind == _NLMSG_ERROR:
                error = -int.from_bytes(body[:4], "little" if _LITTLE else "big", signed=True)
                yield sequence, error, _explanation(body, flags) if error else ""

    def dump(self, kind: int, body: bytes, flags: int = NLM_F_DUMP) -> list[bytes]:
        """The bodies of all objects of a kind. Raises OSError."""
        while True:
            bodies, interrupted = self._dump(kind, body, flags)
            if not interrupted:
                return bodies

    def _dump(self, kind: int, body: bytes, flags: int) -> tuple[list[bytes], bool]:
        sequence, self._sequence = self._sequence, self._sequence + 1
        self.sock.send(message(Request(kind, flags, body), sequence))
        found: list[bytes] = []
        interrupted = False
        while True:
            for answer, answer_flags, number, payload in messages(self.sock.recv(_RECEIVE)):
                if number != sequence:
                    continue
                interrupted |= bool(answer_flags & 0x10)  # NLM_F_DUMP_INTR: it changed meanwhile
                if answer == _NLMSG_DONE:
                    return found, interrupted
                if answer == _NLMSG_ERROR:
                    number = -int.from_bytes(payload[:4], "little" if _LITTLE else "big", signed=True)
                    raise OSError(number, os.strerror(number))
                found.append(payload)


def give_room(sock: socket.socket) -> None:
    """For events that come in bursts. An ordinary user has what the machine grants."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)  # up to net.core.rmem_max
    with suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE)


def messages(raw: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of each message in one datagram."""
    offset = 0
    while offset + 16 <= len(raw):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(raw, offset)
        if length < 16:
            return
        yield kind, flags, sequence, raw[offset + 16 : offset + length]
        offset += (length + 3) & ~3


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def _explanation(body: bytes, flags: int) -> str:
    """The text of an extended acknowledgement: attributes behind the errno and the (capped) request."""
    if not flags & NLM_F_ACK_TLVS:
        return ""
    request = 16 if flags & NLM_F_CAPPED else _U32.unpack_from(body, 4)[0]
    raw = attributes(body[4 + ((request + 3) & ~3) :]).get(_NLMSGERR_ATTR_MSG, b"")
    return raw.rstrip(b"\0").decode(errors="replace")
