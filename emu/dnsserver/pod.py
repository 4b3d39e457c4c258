"""One DNS Pod, or the server embedded in one container: its sockets, opened in its network namespace by the testbed,
and what comes in on them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence

from emu.dnsserver.answers import resolve
from emu.dnsserver.directory import Directory
from emu.dnsserver.embedded import Names
from emu.dnsserver.forward import Done, Forwarder, forward
from emu.dnsserver.records import SERVFAIL, Answer
from emu.dnsserver.replies import Replies, Unfinished
from emu.dnsserver.status import Page, StatusPort
from emu.poller import Poller

BURST = 64  # datagrams from one Pod before the others have their turn
DATAGRAM_MAX = 4096  # bytes; a question is much smaller
TCP_IDLE_S = 8.0  # miekg/dns
CONNECTIONS_MAX = 256
STATUS_PORTS = ("health", "ready", "metrics")

#: The sockets of a Pod by role; `upstream` is an unconnected UDP socket for questions that are forwarded.
ROLES = ("udp", "tcp", "upstream", *STATUS_PORTS)


class DnsPod:
    def __init__(
        self, poller: Poller, address: str, sockets: Sequence[tuple[str, socket.socket]], *, embedded: bool = False
    ) -> None:
        """A role may occur twice: once per address family. `embedded`: it answers from the zone's table of that name
        alone."""
        self._poller, self.address, self._embedded = poller, address, embedded
        self._directory: Directory | None = None
        self._names: Names | None = None
        self._forwarder: Forwarder | None = None
        self._replies = Replies(self._resolve)
        self._listening: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._status: list[StatusPort] = []
        self._upstream_socket: socket.socket | None = None
        self.answered = 0
        for role, sock in sockets:
            self._open(role, sock)

    def _open(self, role: str, sock: socket.socket) -> None:
        sock.setblocking(False)
        if role == "udp":
            self._listening.append(sock)
            self._poller.watch(sock.fileno(), lambda _events: self._datagrams(sock))
        elif role == "tcp":
            self._listening.append(sock)
            self._poller.watch(sock.fileno(), lambda _events: self._accept(sock))
        elif role == "upstream":
            self._upstream_socket = sock
        else:
            self._status.append(StatusPort(self._poller, sock, self._pages(role)))

    def serve(self, directory: Directory, names: Names) -> None:
        """Answer from this zone from now on, given in both its forms."""
        self._directory = directory
        self._names = names if self._embedded else None
        self._replies.cache.clear()
        upstream = directory.zone.upstream
        if upstream and self._upstream_socket and not self._forwarder:
            self._forwarder = Forwarder(self._poller, self._upstream_socket, upstream)
        elif upstream and self._forwarder:
            self._forwarder.turn_to(upstream)
        self._replies.forwards = bool(upstream and self._forwarder)

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()
        for sock in self._listening:
            self._poller.forget(sock.fileno())
            sock.close()
        for port in self._status:
            port.close()
        if self._forwarder:
            self._forwarder.close()
        elif self._upstream_socket:
            self._upstream_socket.close()

    def _resolve(self, name: str, kind: str) -> Answer:
        if self._names:
            return self._names.resolve(name, kind)
        return resolve(self._directory, name, kind, self.address) if self._directory else SERVFAIL

    def _datagrams(self, sock: socket.socket) -> None:
        """The hot path: a question asked before costs a receive, a lookup and a send."""
        receive, send, ready = sock.recvfrom, sock.sendto, self._replies.cache
        try:
            for _ in range(BURST):
                data, client = receive(DATAGRAM_MAX)
                reply = ready.get(data[2:])
                if reply is not None:
                    send(data[:2] + next(reply), client)
                    self.answered += 1
                else:
                    self._unprepared(sock, data, client)
        except OSError:  # nothing left; or the reply cannot leave now, and is lost like any datagram
            return

    def _unprepared(self, sock: socket.socket, data: bytes, client: tuple[str, int]) -> None:
        try:
            family = 6 if ":" in client[0] and "." not in client[0] else 4
            reply = self._replies.udp(data, family)
        except Unfinished as waiting:
            self._forward(waiting, data, lambda found: _send_to(sock, found, client), udp=True)
            return
        if reply:
            sock.sendto(reply, client)
            self.answered += 1

    def _forward(self, waiting: Unfinished, data: bytes, reply: Done, *, udp: bool) -> None:
        if self._forwarder:
            self.answered += 1
            forward(self._forwarder, waiting.query, waiting.answer, data, reply, udp=udp)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        if len(self._connections) >= CONNECTIONS_MAX:
            sock.close()
            return
        self._connections.add(_Connection(self, self._poller, sock))

    def closed(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def stream(self, data: bytes, reply: Done) -> None:
        """A question that came over TCP."""
        try:
            found: bytes | None = self._replies.tcp(data)
        except Unfinished as waiting:
            self._forward(waiting, data, reply, udp=False)
            return
        self.answered += 1
        reply(found)

    def _pages(self, role: str) -> Mapping[str, Page]:
        return {
            "health": {"/health": lambda: (200, "OK")},
            "ready": {"/ready": lambda: (200, "OK") if self._directory else (503, "kubernetes")},
            "metrics": {"/metrics": self._metrics},
        }[role]

    def _metrics(self) -> tuple[int, str]:
        name, entries = "coredns_dns_requests_total", len(self._replies.cache)
        return 200, (
            f"# HELP {name} Counter of DNS requests made per zone, protocol and family.\n# TYPE {name} counter\n"
            f'{name}{{server="dns://:53",zone="."}} {self.answered}\n'
            f'# TYPE coredns_cache_entries gauge\ncoredns_cache_entries{{server="dns://:53"}} {entries}\n'
        )


class _Connection:
    """Questions over one TCP connection, each behind its length; replies in the order they are ready."""

    def __init__(self, pod: DnsPod, poller: Poller, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._pod, self._poller, self._sock = pod, poller, sock
        self._received = bytearray()
        self._open = True
        self._since = poller.clock()  # the last reply
        self._timer = poller.after(TCP_IDLE_S, self._idle)
        poller.watch(sock.fileno(), self._readable)

    def _readable(self, _events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        self._received += data
        while self._open and (message := self._next()):
            self._pod.stream(message, self._send)

    def _next(self) -> bytes:
        if len(self._received) < 2:
            return b""
        end = 2 + struct.unpack_from("!H", self._received)[0]
        if len(self._received) < end:
            return b""
        message = bytes(self._received[2:end])
        del self._received[:end]
        return message

    def _send(self, message: bytes | None) -> None:
        """One reply fits the socket's buffer; a peer that lets it fill up is cut off."""
        if not self._open:
            return
        self._since = self._poller.clock()
        frame = struct.pack("!H", len(message)) + message if message else b""
        try:
            whole = bool(frame) and self._sock.send(frame) == len(frame)
        except OSError:
            whole = False
        if not whole:
            self.close()

    def _idle(self) -> None:
        left = self._since + TCP_IDLE_S - self._poller.clock()
        if left > 0:
            self._timer = self._poller.after(left, self._idle)
        else:
            self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._timer.cancel()
            self._poller.forget(self._sock.fileno())
            self._sock.close()
            self._pod.closed(self)


def _send_to(sock: socket.socket, message: bytes | None, client: tuple[str, int]) -> None:
    try:
        sock.sendto(message or b"", client)
    except OSError:  # lost like any datagram, or the Pod has gone
        pass
