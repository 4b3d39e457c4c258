"""Names outside the cluster: the question goes to the upstream server from the DNS Pod's own socket, so that it
crosses the emulated network like any packet. Source for the times: coredns plugin/forward."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype

from emu.dnsserver import wire
from emu.dnsserver.answers import completed
from emu.dnsserver.records import SERVFAIL, Answer, Record
from emu.poller import Poller, Timer

RETRY_S = 2.0
GIVE_UP_S = 5.0
Done = Callable[[bytes | None], None]


@dataclass(slots=True)
class _Pending:
    message: bytes
    done: Done
    timers: tuple[Timer, Timer]


class Forwarder:
    """Questions under way to one upstream server over one UDP socket, told apart by their ids."""

    def __init__(self, poller: Poller, sock: socket.socket, upstream: str) -> None:
        sock.setblocking(False)
        self._poller, self._sock = poller, sock
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        poller.watch(sock.fileno(), self._readable)
        self.turn_to(upstream)

    def turn_to(self, upstream: str) -> None:
        """Connected, so that nobody else's replies are taken and a closed port is known at once."""
        try:
            host, port = address_of(upstream)
            mapped = self._sock.family == socket.AF_INET6 and ":" not in host
            self._sock.connect((f"::ffff:{host}" if mapped else host, port))
        except OSError:  # no route: every question will time out, as it would with the route lost later
            pass

    def ask(self, message: bytes, done: Done) -> None:
        """Send the message under an id of its own. `done` gets the reply with the message's id, None after 5 s."""
        ident = self._free_id()
        timers = (
            self._poller.after(RETRY_S, lambda: self._send(ident)),
            self._poller.after(GIVE_UP_S, lambda: self._finish(ident, None)),
        )
        self._pending[ident] = _Pending(message, done, timers)
        self._send(ident)

    def close(self) -> None:
        self._poller.forget(self._sock.fileno())
        self._sock.close()
        for pending in self._pending.values():
            for timer in pending.timers:
                timer.cancel()

    def _free_id(self) -> int:
        while True:
            self._last_id = (self._last_id + 1) & 0xFFFF
            if self._last_id not in self._pending:
                return self._last_id

    def _send(self, ident: int) -> None:
        try:
            self._sock.send(struct.pack("!H", ident) + self._pending[ident].message[2:])
        except OSError:  # lost like any datagram; the retry or the time limit follows
            pass

    def _readable(self, _events: int) -> None:
        try:
            data = self._sock.recv(65535)
        except BlockingIOError:
            return
        except OSError:  # the upstream's port is closed (ICMP): nothing that waits will be answered
            for ident in list(self._pending):
                self._finish(ident, None)
            return
        if len(data) >= wire.HEADER.size:
            self._finish(struct.unpack_from("!H", data)[0], data)

    def _finish(self, ident: int, data: bytes | None) -> None:
        if pending := self._pending.pop(ident, None):
            for timer in pending.timers:
                timer.cancel()
            pending.done(None if data is None else pending.message[:2] + data[2:])


def forward(forwarder: Forwarder, query: wire.Query, answer: Answer, data: bytes, reply: Done, *, udp: bool) -> None:
    """Bring a question to its end: relayed whole, or the target of its CNAME looked up and appended."""
    if answer.follow:

        def finish(found: bytes | None) -> None:
            reply(wire.encode(query, _joined(answer, found), udp=udp))

        forwarder.ask(_question(answer.follow, query.type), finish)
    else:
        forwarder.ask(data, lambda found: reply(found or wire.encode(query, SERVFAIL, udp=udp)))


def _question(name: str, kind: str) -> bytes:
    header = wire.HEADER.pack(0, wire.RD, 1, 0, 0, 0)
    return header + (dns.name.from_text(name).to_wire() or b"") + struct.pack("!HH", dns.rdatatype.from_text(kind), 1)


def _joined(answer: Answer, found: bytes | None) -> Answer:
    """A failed lookup leaves the CNAME alone, as in CoreDNS."""
    try:
        message = dns.message.from_wire(found or b"")
    except dns.exception.DNSException:
        return completed(answer, ())
    records = tuple(
        Record(rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), rdata.to_text())
        for rrset in message.answer
        for rdata in rrset
    )
    return completed(answer, records, truncated=bool(message.flags & wire.TC))


def address_of(upstream: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:53`."""
    host, colon, port = upstream.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return upstream.strip("[]"), 53
    return host.strip("[]"), int(port)
