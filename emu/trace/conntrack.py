"""Connection tracking of one flow, per netns: what NAT did to the first packet is undone to the replies, and to the
ICMP errors about them.

The kernel rewrites destinations in PREROUTING and OUTPUT, sources in POSTROUTING and INPUT, for replies too: a reply's
source turns back into the Service's address only in POSTROUTING (nf_nat_core.c, nf_nat_proto.c). An ICMP error is
rewritten as the reply it stands for would be, whoever sent it (nf_nat_icmp_reply_translation)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from emu.plan.model import IPAddress
from emu.trace.model import Headers

ICMP = ("icmp", "icmp6")
ANY_PORT = 0


@dataclass(frozen=True, slots=True)
class Tuple:
    """The addresses and ports of one direction. Of an ICMP echo, the identifier stands in `sport` both ways."""

    src: IPAddress
    dst: IPAddress
    proto: str
    sport: int
    dport: int

    def inverse(self) -> Tuple:
        if self.proto in ICMP:
            return Tuple(self.dst, self.src, self.proto, self.sport, 0)
        return Tuple(self.dst, self.src, self.proto, self.dport, self.sport)

    def __str__(self) -> str:
        ports = (
            f"id={_port(self.sport)}" if self.proto in ICMP else f"sport={_port(self.sport)} dport={_port(self.dport)}"
        )
        return f"src={self.src} dst={self.dst} {ports}"


@dataclass(frozen=True, slots=True)
class Tracked:
    """A kernel's entry: `original` as the first packet came, `reply` as its answer comes, `text` as `conntrack -L`
    prints it."""

    text: str
    original: Tuple
    reply: Tuple
    mark: int = 0

    @property
    def leaving(self) -> Tuple:
        """The first packet once all NAT is done."""
        return self.reply.inverse()

    def is_answer(self, seen: Headers) -> bool:
        """A packet of the reply's direction, on either side of the NAT; where both fit, there is none."""
        one = tuple_of(seen)
        return one not in (self.original, self.leaving) and one in (self.reply, self.original.inverse())

    def sent_on(self, seen: Headers) -> Headers:
        """A packet of the original direction, with the destination that DNAT gives it: that which answers."""
        if (seen.src, seen.dst) != (self.original.src, self.original.dst):
            return seen
        dport = seen.dport if seen.proto in ICMP else self.reply.sport
        return replace(seen, dst=self.reply.src, dport=dport)

    def as_made(self, seen: Headers) -> Headers:
        """The packet as its sender's socket made it, before any NAT of this entry."""
        made = self.reply if self.is_answer(seen) else self.original
        return replace(seen, src=made.src, dst=made.dst, sport=made.sport, dport=made.dport)


def _port(port: int) -> str:
    return str(port) if port else "*"


def tuple_of(headers: Headers) -> Tuple:
    return Tuple(headers.src, headers.dst, headers.proto, headers.sport, headers.dport)


@dataclass(slots=True)
class Entry:
    """`original` as the first packet came, `expected` as its reply will come: NAT is the difference."""

    original: Tuple
    expected: Tuple
    mark: int = 0
    destination_decided: bool = False  # the nat table is asked once for each
    source_decided: bool = False
    balanced: bool = False  # it is IPVS that has given it its server: no NAT by rules

    def __str__(self) -> str:
        """As `conntrack -L` prints it."""
        return f"{self.original.proto} {self.original} {self.expected}"

    @property
    def dnat(self) -> bool:
        return (self.expected.src, self._expected_sport) != (self.original.dst, self.original.dport)

    @property
    def _expected_sport(self) -> int:
        return self.original.dport if self.original.proto in ICMP else self.expected.sport

    @property
    def snat(self) -> bool:
        inverse = self.original.inverse()
        return (self.expected.dst, self.expected.dport) != (inverse.dst, inverse.dport) or (
            self.original.proto in ICMP and self.expected.sport != self.original.sport
        )


@dataclass(slots=True)
class Conntrack:
    """The entries of one netns."""

    entries: list[Entry] = field(default_factory=list)

    def find(self, one: Tuple) -> tuple[Entry | None, bool]:
        """The entry of a packet, and whether the packet goes in the reply direction."""
        for entry in self.entries:
            if one == entry.original:
                return entry, False
            if one == entry.expected:
                return entry, True
        return None, False

    def track(self, one: Tuple) -> Entry:
        entry = Entry(one, one.inverse())
        self.entries.append(entry)
        return entry


def destination_nat(entry: Entry, address: IPAddress, port: int) -> None:
    expected = entry.expected
    entry.expected = replace(
        expected, src=address, sport=port if expected.proto not in ICMP and port else expected.sport
    )


def source_nat(entry: Entry, address: IPAddress, port: int) -> None:
    """`port` ANY_PORT: --random-fully."""
    changed = replace(entry.expected, dst=address)
    entry.expected = replace(changed, sport=port) if changed.proto in ICMP else replace(changed, dport=port)


def rewrite_destination(entry: Entry, headers: Headers, reply: bool) -> Headers:
    """What PREROUTING and OUTPUT make of a packet of this entry."""
    if reply:
        there = entry.original
        if not entry.snat:
            return headers
        changed = replace(headers, dst=there.src)
        return replace(changed, sport=there.sport) if headers.proto in ICMP else replace(changed, dport=there.sport)
    if not entry.dnat:
        return headers
    port = headers.dport if headers.proto in ICMP else entry.expected.sport
    return replace(headers, dst=entry.expected.src, dport=port)


def rewrite_source(entry: Entry, headers: Headers, reply: bool) -> Headers:
    """What POSTROUTING and INPUT make of a packet of this entry."""
    if reply:
        if not entry.dnat:
            return headers
        port = headers.sport if headers.proto in ICMP else entry.original.dport
        return replace(headers, src=entry.original.dst, sport=port)
    if not entry.snat:
        return headers
    port = entry.expected.sport if headers.proto in ICMP else entry.expected.dport
    return replace(headers, src=entry.expected.dst, sport=port)


Rewrite = Callable[[Entry, Headers, bool], Headers]


def rewrite_error(
    entry: Entry, error: Headers, about: Headers, rewrite: Rewrite, destination: bool
) -> tuple[Headers, Headers]:
    """An ICMP error and the packet it tells of. That one is rewritten backwards, and the error's own address as that of
    the reply it stands for."""
    stands_for = tuple_of(about).inverse()
    reply = replace(about, src=stands_for.src, dst=stands_for.dst, sport=stands_for.sport, dport=stands_for.dport)
    done = rewrite(entry, reply, True)
    if done == reply:
        return error, about
    back = tuple_of(done).inverse()
    told = replace(about, src=back.src, dst=back.dst, sport=back.sport, dport=back.dport)
    return (replace(error, dst=done.dst) if destination else replace(error, src=done.src)), told
