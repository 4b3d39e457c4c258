"""Frames → packet records: outer and inner headers, and the key by which one packet is known at every hop."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from emu.capture.fragments import VXLAN_PORTS
from emu.capture.frame import RAW, Frame
from emu.capture.ip import ETH_ARP, ETH_IPV4, ETH_IPV6, IPIP, UDP, Ethernet, Ip, ethernet, ip
from emu.capture.transport import Transport, transport
from emu.trace.model import Encapsulation, Headers, PacketRecord

_VNI_GIVEN = 0x08


def records(frames: Iterable[Frame]) -> tuple[PacketRecord, ...]:
    """All frames of one capture, in order of time, with keys that are different for different packets.

    Two packets can be alike to the last bit NAT leaves alone (a datagram sent twice; an echo server's answer). So the
    n-th that passes a point the same way gets the number n, and one with the addresses of its likes turned around
    is their answer."""
    seen: Counter[tuple[object, ...]] = Counter()
    flows: defaultdict[str, set[tuple[object, ...]]] = defaultdict(set)
    found = []
    for frame in frames:
        record = decode(frame)
        if record.inner is not None:
            record = replace(record, same=_unique(record, record.inner, seen, flows[record.same]))
        found.append(record)
    return tuple(found)


def decode(frame: Frame) -> PacketRecord:
    """One frame. Its key is not yet parted from that of a packet with the same content."""
    link = None if frame.linktype == RAW else ethernet(frame.data)
    raw = link.payload if link else frame.data
    outer = ip(raw) if link is None or link.kind in (ETH_IPV4, ETH_IPV6) else None
    if outer is None:
        return _record(frame, link, None, summary=_summary(frame, link))
    if (vni := _vxlan(outer)) is not None:
        return _tunnelled(frame, link, outer, vni)
    if outer.proto == IPIP and outer.fragment <= 0 and (inner := ip(outer.payload)):
        return _record(frame, None, inner, _encapsulation("ipip", outer, link, pieces=frame.pieces))
    return _record(frame, link, outer)


def _tunnelled(frame: Frame, link: Ethernet | None, outer: Ip, vni: int) -> PacketRecord:
    inside = ethernet(outer.payload[16:])
    inner = ip(inside.payload) if inside and inside.kind in (ETH_IPV4, ETH_IPV6) else None
    summary = "" if inner else _summary(frame, inside)
    return _record(frame, inside, inner, _encapsulation("vxlan", outer, link, vni, frame.pieces), summary)


def _vxlan(packet: Ip) -> int | None:
    """The VNI, if this is VXLAN: by its port and its header."""
    data = packet.payload
    if packet.proto != UDP or packet.fragment > 0 or len(data) < 30 or not data[8] & _VNI_GIVEN:
        return None
    return int.from_bytes(data[12:15], "big") if int.from_bytes(data[2:4], "big") in VXLAN_PORTS else None


def _record(
    frame: Frame,
    link: Ethernet | None,
    inner: Ip | None,
    encapsulation: Encapsulation | None = None,
    summary: str = "",
) -> PacketRecord:
    behind = transport(inner) if inner else None
    pieces = frame.inner_pieces if encapsulation else frame.pieces
    return PacketRecord(
        point=frame.point,
        time_ns=frame.time_ns,
        direction=frame.direction,
        length=frame.length,
        inner=_headers(inner, behind, pieces) if inner and behind else None,
        encapsulation=encapsulation,
        src_mac=link.src if link else "",
        dst_mac=link.dst if link else "",
        same=behind.key if behind else "",
        summary=behind.about if behind else summary,
        flags=frame.flags,
    )


def _headers(packet: Ip, behind: Transport, pieces: int) -> Headers:
    return Headers(
        src=packet.src,
        dst=packet.dst,
        proto=behind.proto,
        sport=behind.sport,
        dport=behind.dport,
        ttl=packet.ttl,
        note=behind.note,
        fragments=pieces,
    )


def _encapsulation(kind: str, outer: Ip, link: Ethernet | None, vni: int = 0, pieces: int = 0) -> Encapsulation:
    data = outer.payload
    ports = (int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big"))
    behind = Transport("udp", *ports) if kind == "vxlan" else Transport("ipip")
    return Encapsulation(
        kind=kind,
        outer=_headers(outer, behind, pieces),
        vni=vni,
        outer_src_mac=link.src if link else "",
        outer_dst_mac=link.dst if link else "",
    )


def _unique(
    record: PacketRecord, inner: Headers, seen: Counter[tuple[object, ...]], flows: set[tuple[object, ...]]
) -> str:
    flow = (inner.src, inner.sport, inner.dst, inner.dport)
    answer = flow not in flows and (*flow[2:], *flow[:2]) in flows
    if not answer:
        flows.add(flow)
    # The TTL keeps a packet that goes in circles one packet.
    way = (record.same, record.point, record.direction, flow, inner.ttl)
    seen[way] += 1
    return f"{record.same}{'<' * answer}{f'#{seen[way]}' * (seen[way] > 1)}"


def _summary(frame: Frame, link: Ethernet | None) -> str:
    if link and link.kind == ETH_ARP and len(link.payload) >= 28:
        return _arp(link.payload)
    from scapy.layers.l2 import Ether  # half a second to import, and seldom needed

    return Ether(frame.data).summary() if link else f"{len(frame.data)} bytes without an IP header"


def _arp(data: bytes) -> str:
    sender, target = IPv4Address(data[14:18]), IPv4Address(data[24:28])
    if data[7] == 1:
        return f"ARP who has {target}? tell {sender}" if sender != target else f"ARP announcement of {sender}"
    return f"ARP {sender} is at {data[8:14].hex(':')}"
