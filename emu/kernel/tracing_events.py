"""nf_tables trace events: which rules a packet matched, table by table.

The kernel sends an event for each rule that matched and for each base chain's end; the first event of a base chain
carries the packet's headers. Its packet id tells a packet's events apart within a base chain only: br_netfilter runs
PREROUTING for the bridge's port and FORWARD for the bridge, and the id depends on that interface. So a packet is
followed by what NAT leaves alone, and begins anew at the chain that switched tracing on.
Source: linux/netfilter/nf_tables.h, net/netfilter/nf_tables_trace.c."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from emu.kernel.netlink import attributes
from emu.plan.model import IPAddress
from emu.trace.model import Headers

NFT_MSG_TRACE = 10 << 8 | 17  # NFNL_SUBSYS_NFTABLES, NFT_MSG_TRACE
_TABLE, _CHAIN, _HANDLE, _TYPE, _ID, _NETWORK, _TRANSPORT, _POLICY = 1, 2, 3, 4, 6, 8, 9, 16
POLICY, RULE = 1, 3
DROP = 0
TABLE = "kube_emu_trace"  # the trace's own table, never part of an answer
_ABOUT = ("unreachable", "time exceeded", "fragmentation needed", "packet too big", "parameter problem", "redirect")
_PROTOCOLS = {1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}
NUMBERS = {name: number for number, name in _PROTOCOLS.items()}
_ECHO = {"icmp": (8, 0), "icmp6": (128, 129)}
_ERRORS = {"icmp": (3, 5, 11, 12), "icmp6": (1, 2, 3, 4)}


@dataclass(frozen=True, slots=True)
class Matched:
    """A rule that matched, by handle (nft) or by number in its chain (legacy); `handle` 0: the chain's policy."""

    table: str
    chain: str
    handle: int


@dataclass(slots=True)
class Segment:
    """One base chain's passage. `key`: of the packet, whatever NAT makes of it."""

    table: str
    headers: Headers
    key: str
    matched: list[Matched] = field(default_factory=list)


@dataclass(slots=True)
class Traversal:
    """One packet's way through a namespace."""

    segments: list[Segment] = field(default_factory=list)

    def matched(self, headers: Headers) -> tuple[Matched, ...] | None:
        """The rules matched from where the packet had these headers; None if it never had."""
        start = next((at for at, part in enumerate(self.segments) if _alike(part.headers, headers)), None)
        return None if start is None else tuple(rule for part in self.segments[start:] for rule in part.matched)


class Traversals:
    """Fed with event bodies in their order, gives the traversals."""

    def __init__(self) -> None:
        self.all: list[Traversal] = []
        self._open: dict[int, Segment] = {}  # by packet id
        self._current: dict[str, Traversal] = {}  # by packet key

    def feed(self, body: bytes) -> None:
        """One event of nf_tables: a struct nfgenmsg (4 bytes) and attributes."""
        found = attributes(body[4:])
        number = int.from_bytes(found[_ID], "big")
        if _NETWORK in found and (begun := _segment(found)):
            self.begin(number, begun)
        if (part := self._open.get(number)) and (rule := _matched(found)):
            part.matched.append(rule)

    def begin(self, number: int, part: Segment) -> None:
        self._open[number] = part
        if part.table == TABLE or part.key not in self._current:
            self._current[part.key] = Traversal()
            self.all.append(self._current[part.key])
        self._current[part.key].segments.append(part)

    def rules(self, headers: Headers) -> tuple[Matched, ...]:
        """What the first packet with such headers matched."""
        answers = (traversal.matched(headers) for traversal in self.all)
        return next((answer for answer in answers if answer is not None), ())


def _matched(found: dict[int, bytes]) -> Matched | None:
    """A rule that matched, or a policy that dropped. The end of a chain comes as a rule without a handle."""
    kind = int.from_bytes(found[_TYPE], "big")
    table, chain = _text(found[_TABLE]), _text(found[_CHAIN])
    if kind == RULE and table != TABLE and _HANDLE in found:
        return Matched(table, chain, int.from_bytes(found[_HANDLE], "big"))
    if kind == POLICY and int.from_bytes(found.get(_POLICY, b"\1"), "big") == DROP:
        return Matched(table, chain, 0)
    return None


def _segment(found: dict[int, bytes]) -> Segment | None:
    parsed = packet(found[_NETWORK], found.get(_TRANSPORT, b""))
    return Segment(_text(found[_TABLE]), *parsed) if parsed else None


def packet(network: bytes, transport: bytes) -> tuple[Headers, str] | None:
    """Headers and key. `transport` may be cut off after 20 bytes."""
    version = network[0] >> 4 if network else 0
    src: IPAddress
    dst: IPAddress
    if version == 4 and len(network) >= 20:
        src, dst = IPv4Address(network[12:16]), IPv4Address(network[16:20])
        number, ttl, ident = network[9], network[8], network[4:6].hex()
    elif version == 6 and len(network) >= 40:
        src, dst = IPv6Address(network[8:24]), IPv6Address(network[24:40])
        number, ttl, ident = network[6], network[7], ""
    else:
        return None
    proto = _PROTOCOLS.get(number, str(number))
    sport, dport, note, kept = _behind(proto, transport)
    headers = Headers(src=src, dst=dst, proto=proto, sport=sport, dport=dport, ttl=ttl, note=note)
    return headers, f"{proto}:{ident}:{kept}"


def _behind(proto: str, data: bytes) -> tuple[int, int, str, str]:
    """Ports, note, and what NAT leaves alone."""
    ports = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    if proto == "tcp" and len(data) >= 14:
        return *ports, _step(data[13]), data[4:14].hex()
    if proto in _ECHO:
        kind = data[0] if data else -1
        ident = int.from_bytes(data[4:6], "big") if kind in _ECHO[proto] else 0
        note = "echo" if kind in _ECHO[proto] else "error" if kind in _ERRORS[proto] else "other"
        return ident, 0, note, data[:2].hex() + data[6:8].hex()
    return *ports, "", (data[4:6] + data[8:20]).hex()  # an answer may be as long, and IPv6 packets have no id


def _step(flags: int) -> str:
    if flags & 4:
        return "RST"
    if flags & 2:
        return "SYN-ACK" if flags & 16 else "SYN"
    return ""


def _alike(one: Headers, asked: Headers) -> bool:
    """Ports of 0 are any. A packet with a note is taken for what it is: a TCP segment that opens, resets or is
    between, an ICMP error or echo, and no neighbor solicitation of the same two."""
    same = (one.src, one.dst, one.proto) == (asked.src, asked.dst, asked.proto)
    ports = all(a in (0, b) for a, b in ((asked.sport, one.sport), (asked.dport, one.dport)))
    return same and ports and (not asked.note or _kind(asked) == one.note)


def _kind(asked: Headers) -> str:
    if asked.proto in _ECHO:
        return "echo" if asked.note.startswith("echo") else "error" if asked.note.startswith(_ABOUT) else "other"
    if asked.proto == "tcp":
        return asked.note if asked.note in ("SYN", "SYN-ACK", "RST") else ""
    return ""


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode()
