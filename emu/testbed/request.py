"""One request of a trace: sent from inside a network namespace by the testbed itself, so that no program is started."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle, islice

from emu.trace.model import Flow
from emu.trace.refusals import NO_HOST
from emu.trace.sizes import TOO_LONG

TIMEOUT_S = 1.5  # a dropped packet is known by silence; TCP repeats its SYN after 1 s
UNREACHABLE_S = 4.0  # a router asks three times, a second apart, for the MAC of a next hop before it gives up

IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
#: With "don't fragment" and without, as `ping -M do` and `-M dont`: the route's own MTU counts. IPv6 would also heed
#: what its kernel has learned before, which can be forgotten in IPv4 alone; so it looks at the device.
HOW = {4: {True: 2, False: 0}, 6: {True: 3, False: 5}}  # DO, DONT; PROBE, OMIT
_ORIGIN_LOCAL = 1  # SO_EE_ORIGIN_LOCAL

#: Source ports and echo identifiers, none used twice for long: a request like an earlier one that conntrack remembers
#: is no new flow, and passes the nat table by.
_fresh = cycle(range(32768, 61000))
deque(islice(_fresh, int.from_bytes(os.urandom(2), "big") % 28000), maxlen=0)

OpenSocket = Callable[[int, int, int], socket.socket]  # (family, type, protocol) in the source's netns


@dataclass(frozen=True, slots=True)
class Reply:
    """How a request ended. `sport` is the source port used (ICMP: the echo identifier). `unsent`: why the kernel did
    not send it. `told`: what it then told the sender of its packet; None if that is not known."""

    sport: int
    text: str
    ok: bool
    unsent: str = ""
    told: str | None = None


def send(flow: Flow, open_socket: OpenSocket, timeout_s: float = TIMEOUT_S) -> Reply:
    """Send one request and wait for its answer. A refusal or silence is a Reply too, never an exception."""
    reply = {"tcp": _tcp, "udp": _udp, "icmp": _icmp}[flow.proto](flow, open_socket, timeout_s)
    return replace(reply, told=NO_HOST if reply.text == os.strerror(errno.EHOSTUNREACH) else "")


def _family(flow: Flow) -> int:
    return socket.AF_INET if flow.dst.version == 4 else socket.AF_INET6


def _bound(flow: Flow, sock: socket.socket) -> socket.socket:
    source = str(flow.src) if flow.src else ""
    for sport in (flow.sport,) if flow.sport else islice(_fresh, 100):
        try:
            sock.bind((source, sport))
            return sock
        except OSError as error:
            if error.errno != errno.EADDRINUSE or flow.sport:
                raise
    return sock  # the kernel's choice


def _tcp(flow: Flow, open_socket: OpenSocket, timeout_s: float) -> Reply:
    with _bound(flow, open_socket(_family(flow), socket.SOCK_STREAM, 0)) as sock:
        sport = sock.getsockname()[1]
        sock.settimeout(timeout_s)
        try:
            sock.connect((str(flow.dst), flow.dport))
        except OSError as error:
            return Reply(sport, _words(error), ok=False)
        return Reply(sport, "connected", ok=True)


def _udp(flow: Flow, open_socket: OpenSocket, timeout_s: float) -> Reply:
    with _bound(flow, open_socket(_family(flow), socket.SOCK_DGRAM, 0)) as sock:
        sport = sock.getsockname()[1]
        sock.settimeout(timeout_s)
        _hear_errors(sock)
        _fragments(sock, flow)
        try:
            sock.connect((str(flow.dst), flow.dport))
            sock.send(_datagram(flow))
            answer = sock.recv(4096)
        except OSError as error:
            return _failed(sport, error, sock)
        return Reply(sport, f"{len(answer)} bytes" if flow.dport == 53 else answer.decode(errors="replace"), ok=True)


def _datagram(flow: Flow) -> bytes:
    """What netexec answers: it takes blanks off at the end."""
    if flow.size is None and flow.dport == 53:
        return _dns_question()
    return b"hostname" if flow.size is None else b"hostname"[: flow.size].ljust(flow.size)


def _dns_question() -> bytes:
    """`A kubernetes.default.svc.cluster.local.`, recursion desired."""
    name = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b"."))
    return os.urandom(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x00\x01\x00\x01"


def _icmp(flow: Flow, open_socket: OpenSocket, timeout_s: float) -> Reply:
    """An echo request by a raw socket: a datagram ICMP socket wants `net.ipv4.ping_group_range`."""
    v6 = flow.dst.version == 6
    protocol, request, reply = (58, 128, 129) if v6 else (socket.IPPROTO_ICMP, 8, 0)
    identifier = flow.sport or next(_fresh)
    body = struct.pack("!HH", identifier, 1) + _payload(flow)
    checksum = 0 if v6 else _checksum(struct.pack("!BBH", request, 0, 0) + body)
    with open_socket(_family(flow), socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(timeout_s)
        _hear_errors(sock)
        _fragments(sock, flow)
        try:
            sock.connect((str(flow.dst), 0))
            sock.send(struct.pack("!BBH", request, 0, checksum) + body)
            while True:
                packet = sock.recv(65536)
                message = packet if v6 else packet[(packet[0] & 15) * 4 :]
                if message[0] == reply and message[4:6] == body[:2]:
                    return Reply(identifier, "echo reply", ok=True)
        except OSError as error:
            return _failed(identifier, error, sock)


def _payload(flow: Flow) -> bytes:
    """Unlike that of any other request, as far as there is room."""
    if flow.size is None:
        return b"kube-emu trace.." + os.urandom(8)
    return os.urandom(min(8, flow.size)).ljust(flow.size, b".")


def _fragments(sock: socket.socket, flow: Flow) -> None:
    v6 = sock.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if v6 else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
    if flow.size is not None:
        sock.setsockopt(level, option, HOW[flow.dst.version][flow.df])


def _failed(sport: int, error: OSError, sock: socket.socket) -> Reply:
    """Too long: the kernel says in the socket's error queue who did not take it, and what it would take (ip(7))."""
    if error.errno != errno.EMSGSIZE:
        return Reply(sport, _words(error), ok=False)
    try:
        _, ancillary, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return Reply(sport, _words(error), ok=False)
    _, origin, _, _, _, mtu, _ = struct.unpack_from("=IBBBBII", ancillary[0][2])
    if origin == _ORIGIN_LOCAL:
        return Reply(sport, f"{TOO_LONG}, mtu {mtu}", ok=False, unsent=f"{TOO_LONG}, mtu {mtu}")
    told = "packet too big" if sock.family == socket.AF_INET6 else "fragmentation needed"
    return Reply(sport, f"{told}, mtu {mtu}", ok=False)


def _hear_errors(sock: socket.socket) -> None:
    """Of ICMP's errors a socket is told "port unreachable" alone, unless it asks for all of them (ip(7))."""
    v6 = sock.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, IPV6_RECVERR) if v6 else (socket.IPPROTO_IP, IP_RECVERR)
    sock.setsockopt(level, option, 1)


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _words(error: OSError) -> str:
    return "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error))
