"""Questions and replies as bytes, as CoreDNS (the Go library miekg/dns) reads and writes them.

Two things are unlike most servers: names are not compressed unless the reply would not fit otherwise, and the options
of EDNS that are merely known (a cookie) come back as they were sent. Source: miekg/dns acceptfunc.go, msg_truncate.go;
coredns request/request.go (SizeAndDo, Scrub), plugin/pkg/edns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from emu.dnsserver.records import Answer, Record

HEADER = struct.Struct("!HHHHHH")
UDP_MIN = 512  # bytes; RFC 1035, and the least an EDNS buffer can mean (RFC 6891)
TCP_MAX = 65535
COMPRESS_OVER = {4: 1480, 6: 1220}  # bytes; a larger UDP reply is compressed so that it may escape fragmentation
QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
OPT = 41
DO = 0x8000
ECHOED_OPTIONS = frozenset({3, 9, 10, 11, 12})  # NSID, EXPIRE, COOKIE, TCP keepalive, padding
FORMERR, NOTIMP, BADVERS = 1, 4, 16
#: Types whose names may be compressed; those younger than RFC 1035 may not (RFC 3597).
COMPRESSED_DATA = frozenset({"CNAME", "NS", "PTR", "SOA", "MX"})


class Unanswerable(Exception):
    """Not a question. `reply` is what to send back, b"" for nothing at all."""

    def __init__(self, reply: bytes = b"") -> None:
        super().__init__("not a DNS question")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Query:
    """A question, with what of its header matters for the reply. `udp_size` is 0 without EDNS."""

    id: int
    flags: int
    name: str
    type: str
    rdclass: int
    question: bytes  # as it stands in the message
    udp_size: int = 0
    do: bool = False
    version: int = 0
    options: bytes = b""


def decode(data: bytes) -> Query:
    """Raises Unanswerable."""
    if len(data) < HEADER.size:
        raise Unanswerable
    ident, flags, questions, answers, authorities, extras = HEADER.unpack_from(data)
    if flags & QR:
        raise Unanswerable  # a reply to a reply could go on for ever
    if opcode := flags & 0x7800:
        raise Unanswerable(HEADER.pack(ident, QR | opcode | NOTIMP, 0, 0, 0, 0))
    try:
        if questions != 1 or answers > 1 or authorities > 1 or extras > 2:
            raise dns.exception.FormError
        name, used = dns.name.from_wire(data, HEADER.size)
        end = HEADER.size + used + 4
        rdtype, rdclass = struct.unpack_from("!HH", data, end - 4)
        edns = _edns(data, end, answers + authorities + extras)
    except (dns.exception.DNSException, struct.error, IndexError) as error:
        raise Unanswerable(HEADER.pack(ident, QR | FORMERR, 0, 0, 0, 0)) from error
    kind = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rdtype))
    return Query(ident, flags, name.to_text(), kind, rdclass, data[HEADER.size : end], *edns)


def _edns(data: bytes, at: int, records: int) -> tuple[int, bool, int, bytes]:
    for _ in range(records):
        _, used = dns.name.from_wire(data, at)
        kind, size, _, version, flags, length = struct.unpack_from("!HHBBHH", data, at + used)
        at += used + 10
        if at + length > len(data):
            raise dns.exception.FormError
        if kind == OPT:
            return max(size, 1), bool(flags & DO), version, _echoed(data[at : at + length])
        at += length
    return 0, False, 0, b""


def _echoed(options: bytes) -> bytes:
    kept, at = b"", 0
    while at < len(options):
        code, length = struct.unpack_from("!HH", options, at)
        if code in ECHOED_OPTIONS:
            kept += options[at : at + 4 + length]
        at += 4 + length
    return kept


def encode(query: Query, answer: Answer, *, udp: bool, family: int = 4) -> bytes:
    """The reply to send. Over UDP it fits the asker's buffer: records that do not are left out, and TC says so."""
    if query.version:
        return _message(query, QR, b"", (0, 0, 0), BADVERS)
    sections = (answer.answer, answer.authority, answer.additional)
    limit = max(UDP_MIN, query.udp_size) if udp else TCP_MAX
    room = limit - len(_opt(query, 0))
    flags = QR | dns.rcode.from_text(answer.rcode)
    flags |= (AA * answer.authoritative) | (TC * answer.truncated) | (RA * answer.recursive)
    plain, counts = _records(query, sections, None, None)
    size = HEADER.size + len(query.question) + len(plain)
    if size <= room and (not udp or size <= COMPRESS_OVER[family]):
        return _message(query, flags, plain, counts)
    body, counts = _records(query, sections, {}, room)
    cut = sum(counts) < sum(map(len, sections))
    return _message(query, flags | (TC if cut else 0), body, counts)


def _message(query: Query, flags: int, body: bytes, counts: tuple[int, ...], extended: int = 0) -> bytes:
    opt = _opt(query, extended)
    answers, authorities, extras = counts
    flags |= query.flags & (RD | CD)
    header = HEADER.pack(query.id, flags, 1, answers, authorities, extras + bool(opt))
    return header + query.question + body + opt


def _opt(query: Query, extended: int) -> bytes:
    if not query.udp_size:
        return b""
    flags = DO if query.do else 0
    return struct.pack("!BHHBBHH", 0, OPT, query.udp_size, extended >> 4, 0, flags, len(query.options)) + query.options


def _records(
    query: Query, sections: tuple[tuple[Record, ...], ...], compress: dict[dns.name.Name, int] | None, room: int | None
) -> tuple[bytes, tuple[int, ...]]:
    """The records from the end of the question on, and how many of each section there are: those before the first
    that does not fit. With `compress`, names are compressed."""
    file = BytesIO()
    start = HEADER.size + len(query.question)
    file.write(bytes(HEADER.size) + query.question)
    if compress is not None:
        compress.update(_suffixes(query.name))
    counts = []
    for section in sections:
        counts.append(0)
        for record in section:
            before = file.tell()
            _write(file, record, compress)
            if room is not None and file.tell() > room:
                file.seek(before)
                file.truncate()
                return file.getvalue()[start:], (*counts, *(0 for _ in sections[len(counts) :]))
            counts[-1] += 1
    return file.getvalue()[start:], tuple(counts)


def _suffixes(name: str) -> dict[dns.name.Name, int]:
    """Where each parent of the question's name stands, for compression."""
    result, at, rest = {}, HEADER.size, dns.name.from_text(name)
    while rest != dns.name.root:
        result[rest] = at
        at += 1 + len(rest.labels[0])
        rest = rest.parent()
    return result


def _write(file: BytesIO, record: Record, compress: dict[dns.name.Name, int] | None) -> None:
    data = _rdata(record.type, record.data)
    _name(record.name).to_wire(file, compress)
    file.write(struct.pack("!HHIH", data.rdtype, dns.rdataclass.IN, record.ttl, 0))
    start = file.tell()
    data.to_wire(file, compress if record.type in COMPRESSED_DATA else None)
    end = file.tell()
    file.seek(start - 2)
    file.write(struct.pack("!H", end - start))
    file.seek(end)


@lru_cache(4096)
def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


@lru_cache(4096)
def _rdata(kind: str, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text)
