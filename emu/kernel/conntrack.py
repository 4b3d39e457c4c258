"""Connection tracking entries of a namespace, by ctnetlink: listed as `conntrack -L` prints them, deleted by choice."""

from __future__ import annotations

import errno as errnos
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from emu.errors import KernelError
from emu.kernel import netlink, sysctls
from emu.kernel.netlink import NLA_F_NESTED, Connection, Request, attr, attributes
from emu.kernel.netns import Netns, entered, socket_in
from emu.plan.model import IPAddress

log = logging.getLogger(__name__)

CT_NEW, _CT_GET, _CT_DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK, _USE = 1, 2, 3, 4, 7, 8, 11
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SEEN_REPLY, _ASSURED = 2, 4
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_TCP_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT"),
    *("CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuple:
    """One direction. For ICMP `sport` is the identifier and `dport` is type * 256 + code."""

    src: IPAddress
    dst: IPAddress
    proto: str
    sport: int = 0
    dport: int = 0

    def __str__(self) -> str:
        if self.proto.startswith("icmp"):
            kind, code = divmod(self.dport, 256)
            return f"src={self.src} dst={self.dst} type={kind} code={code} id={self.sport}"
        if self.proto.isdigit():
            return f"src={self.src} dst={self.dst}"
        return f"src={self.src} dst={self.dst} sport={self.sport} dport={self.dport}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`raw` is the original tuple as the kernel wrote it: its key."""

    orig: Tuple
    reply: Tuple
    number: int
    status: int
    timeout_s: int
    state: str
    mark: int
    use: int
    raw: bytes

    def __str__(self) -> str:
        """As `conntrack -L` prints it."""
        name = "unknown" if self.orig.proto.isdigit() else self.orig.proto
        parts = [f"{name:<8} {self.number} {self.timeout_s}", self.state, str(self.orig)]
        parts += ["" if self.status & _SEEN_REPLY else "[UNREPLIED]", str(self.reply)]
        parts += ["[ASSURED]" if self.status & _ASSURED else "", f"mark={self.mark}"]
        parts += [f"use={self.use}" if self.use else ""]  # the news of an entry do not say it
        return " ".join(part for part in parts if part)


def entries(netns: Netns, family: int = 4) -> list[Entry]:
    """All of one family; none where connection tracking has never been used."""
    with _connection(netns) as connection:
        return _entries(connection, family)


def delete(netns: Netns, chosen: Callable[[Entry], bool], family: int = 4) -> int:
    """Delete the entries `chosen` is true for; returns how many. Raises KernelError."""
    with _connection(netns) as connection:
        doomed = [entry for entry in _entries(connection, family) if chosen(entry)]
        for entry in doomed:
            log.info("%s# conntrack -D -p %s %s", netns.name, entry.orig.proto, _options(entry.orig))
        failures = connection.execute([_deletion(entry, family) for entry in doomed])
    failures = [failure for failure in failures if failure.errno != errnos.ENOENT]
    if failures:
        raise KernelError(f"{netns.name}# conntrack -D {_options(doomed[failures[0].index].orig)} : {failures[0]}")
    return len(doomed)


def flush_udp(
    netns: Netns, *, orig_dst: IPAddress | None = None, dst_nat: IPAddress | None = None, dport: int = 0
) -> int:
    """`conntrack -D -p udp [--orig-dst …] [--dst-nat …] [--dport …]`, as kube-proxy does when a UDP endpoint or
    Service is gone. A reply comes from where DNAT sent the packet: that is what --dst-nat matches."""
    given = orig_dst or dst_nat

    def chosen(entry: Entry) -> bool:
        return (
            entry.orig.proto == "udp"
            and (orig_dst is None or entry.orig.dst == orig_dst)
            and (dst_nat is None or (entry.reply.src == dst_nat and entry.orig.dst != dst_nat))
            and (not dport or entry.orig.dport == dport)
        )

    return delete(netns, chosen, given.version if given else 4) if _any(netns) else 0


def _any(netns: Netns) -> bool:
    """Cheap to know, where a list is not: for that the kernel searches its table of all namespaces."""
    with entered(netns):
        count = next(sysctls.read(("net.netfilter.nf_conntrack_count",)), None)
    return count is None or count.value != "0"


def text(found: Iterable[Entry]) -> str:
    return "\n".join(map(str, found))


class _connection:
    def __init__(self, netns: Netns) -> None:
        sock = socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER)
        self._connection = Connection(sock)

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _entries(connection: Connection, family: int) -> list[Entry]:
    try:
        bodies = connection.dump(_CT_GET, _head(family))
    except OSError as error:
        if error.errno in (errnos.EOPNOTSUPP, errnos.EINVAL, errnos.ENOENT):
            return []
        raise
    return [entry_of(body) for body in bodies]


def _head(family: int) -> bytes:
    return struct.pack("=BBH", socket.AF_INET if family == 4 else socket.AF_INET6, 0, 0)


def _deletion(entry: Entry, family: int) -> Request:
    return Request(_CT_DELETE, 0, _head(family) + attr(_TUPLE_ORIG | NLA_F_NESTED, entry.raw))


def entry_of(body: bytes) -> Entry:
    """Of a message of the kernel's: one of its list, or the news of one that is new."""
    found = attributes(body[4:])
    number, orig = _tuple(found[_TUPLE_ORIG])
    state = ""
    if number == 6 and _PROTOINFO in found:
        tcp = attributes(attributes(found[_PROTOINFO]).get(1, b""))
        state = _TCP_STATES[tcp[1][0]] if 1 in tcp and tcp[1][0] < len(_TCP_STATES) else ""
    return Entry(
        orig=orig,
        reply=_tuple(found[_TUPLE_REPLY])[1],
        number=number,
        status=_be(found.get(_STATUS)),
        timeout_s=_be(found.get(_TIMEOUT)),
        state=state,
        mark=_be(found.get(_MARK)),
        use=_be(found.get(_USE)),
        raw=found[_TUPLE_ORIG],
    )


def _tuple(raw: bytes) -> tuple[int, Tuple]:
    found = attributes(raw)
    ends = attributes(found[_TUPLE_IP])
    proto = attributes(found[_TUPLE_PROTO])
    number = proto[1][0]
    name = _NAMES.get(number, str(number))
    if name.startswith("icmp"):
        first = 4 if number == 1 else 7  # CTA_PROTO_ICMP_ID, _TYPE, _CODE; CTA_PROTO_ICMPV6_ID …
        ports = (_be(proto.get(first)), _be(proto.get(first + 1)) * 256 + _be(proto.get(first + 2)))
    else:
        ports = (_be(proto.get(2)), _be(proto.get(3)))
    src, dst = (ends[1], ends[2]) if 1 in ends else (ends[3], ends[4])
    return number, Tuple(src=ip_address(src), dst=ip_address(dst), proto=name, sport=ports[0], dport=ports[1])


def _be(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", "big")


def _options(ends: Tuple) -> str:
    return f"--orig-src {ends.src} --orig-dst {ends.dst} --sport {ends.sport} --dport {ends.dport}"
