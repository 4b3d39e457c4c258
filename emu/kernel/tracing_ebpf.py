"""What a lab's eBPF programs decide while a flow is followed: the events in their ring buffers, as `trace.decisions`
has them. Between times the programs write none.

A ring buffer is read by mapping it: a page that says how far it was read, one that says how far it was written, and the
records, mapped twice so that none is cut. Source: linux kernel/bpf/ringbuf.c."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from emu.kernel.bpf.library import Programs
from emu.plan.ebpf import LAYOUTS, PROTOCOLS, MapEntry, Value, unpack
from emu.trace.conntrack import Tuple
from emu.trace.decisions import Decision

EVENTS, SWITCH = "events", "monitored"
ROOM = 1 << 18  # ROOM in cilium.h
_FLOW = struct.Struct("=QI4s4s2s2sB7x")
_EVENT = struct.Struct("=BB24s32s24s40s")
_U32, _U64 = struct.Struct("=I"), struct.Struct("=Q")
_BUSY, _DISCARD, _LENGTH, _HEAD = 1 << 31, 1 << 30, (1 << 30) - 1, 8


@dataclass(frozen=True, slots=True)
class Source:
    """A set of loaded programs. `netns`: of the Node, "" where it is one for all, whose keys begin with a number of
    `nodes`; `links`: its links by index."""

    netns: str
    programs: Programs
    links: Mapping[int, str]
    nodes: Mapping[int, str]


class Ring:
    def __init__(self, programs: Programs) -> None:
        fd, page = programs.map(EVENTS).fd, mmap.PAGESIZE
        self._read = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._written = mmap.mmap(fd, page + 2 * ROOM, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)

    def take(self) -> Iterator[bytes]:
        """What has been written since the last time."""
        while (at := _U64.unpack_from(self._read)[0]) < _U64.unpack_from(self._written)[0]:
            start = mmap.PAGESIZE + at % ROOM
            head = _U32.unpack_from(self._written, start)[0]
            if head & _BUSY:
                return
            length = head & _LENGTH
            if not head & _DISCARD:
                yield self._written[start + _HEAD : start + _HEAD + length]
            _U64.pack_into(self._read, 0, at + (length + _HEAD + 7) // 8 * 8)

    def close(self) -> None:
        self._read.close()
        self._written.close()


class DecisionTrace:
    """On from the constructor to `close`."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._rings = [(source, Ring(source.programs)) for source in sources]
        self._decisions: list[tuple[int, Decision]] = []
        for source, ring in self._rings:
            for _ in ring.take():
                pass
            source.programs.map(SWITCH).update(bytes(4), _U32.pack(1))

    def __enter__(self) -> DecisionTrace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def packets(self, netns: str) -> tuple[Decision, ...]:
        """In the order they were made."""
        self._take()
        return tuple(each for cookie, each in self._decisions if not cookie and each.netns == netns)

    def sockets(self, cookie: int) -> tuple[Decision, ...]:
        """Of the sockets of a network namespace."""
        self._take()
        return tuple(each for own, each in self._decisions if own == cookie)

    def close(self) -> None:
        for source, ring in self._rings:
            source.programs.map(SWITCH).update(bytes(4), _U32.pack(0))
            ring.close()
        self._rings = []

    def _take(self) -> None:
        for source, ring in self._rings:
            self._decisions += (decided(raw, source) for raw in ring.take())


def decided(raw: bytes, source: Source) -> tuple[int, Decision]:
    """(cookie of the socket's namespace or 0, decision) of one record: `struct event` of cilium.h."""
    cookie, index, src, dst, sport, dport, proto = _FLOW.unpack_from(raw)
    key_bytes, value_bytes, program, name, key, value = _EVENT.unpack_from(raw, _FLOW.size)
    name_text = _text(name)
    layout = LAYOUTS[name_text]
    node, found = source.netns, key[:key_bytes]
    if layout.of_lab:
        node, found = source.nodes.get(_U32.unpack_from(found)[0], ""), found[4:]
    entry = MapEntry(
        map=name_text,
        key=_key(name_text, found),
        value=unpack(layout.value, value[:value_bytes], source.links),
    )
    ports = int.from_bytes(sport, "big"), int.from_bytes(dport, "big")
    protocol = PROTOCOLS.get(proto, str(proto)).lower()
    flow = Tuple(IPv4Address(src), IPv4Address(dst), protocol, ports[0], 0 if protocol == "icmp" else ports[1])
    dev = source.links.get(index, "") if index else ""
    return cookie, Decision(netns=node, program=_text(program), entry=entry, dev=dev, flow=flow)


def _key(name: str, raw: bytes) -> tuple[Value, ...]:
    """Of a map of prefixes the address that was looked up."""
    return (
        (IPv4Address(raw),)
        if len(raw) == 4 and name != "cilium_lb4_backends_v3"
        else unpack(LAYOUTS[name].key, raw, {})
    )


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode()
