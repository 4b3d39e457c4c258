"""What lies behind an IP header: ports, a note a reader understands, and a key that NAT and tunnels do not change.

The key of a packet is built from its IP identification (kept by NAT; 0 when the sender sets "don't fragment" and has no
connected socket) and: TCP: sequence numbers, flags, time stamp option, payload; UDP: payload; ICMP echo: type,
sequence, payload, without the identifier, which NAT may change; ICMP errors: those of the packet inside."""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import NamedTuple

from emu.capture import notes
from emu.capture.ip import ICMP, ICMP6, NAMES, SCTP, TCP, UDP, Ip, ip

_TCP = struct.Struct("!HHIIBBHHH")
FIN, SYN, RST, ACK = 1, 2, 4, 16
_ECHO = {ICMP: (8, 0), ICMP6: (128, 129)}
_ERRORS = {ICMP: frozenset({3, 5, 11, 12}), ICMP6: frozenset({1, 2, 3, 4})}


class Transport(NamedTuple):
    proto: str
    sport: int = 0
    dport: int = 0
    note: str = ""
    key: str = ""
    about: str = ""  # of an ICMP error: the packet it is about


def transport(packet: Ip) -> Transport:
    name = NAMES.get(packet.proto, str(packet.proto))
    data = packet.payload
    if packet.fragment > 0:
        return Transport(name, note=f"fragment at {packet.fragment}", key=_key(name, packet, packet.fragment, data))
    if packet.proto == TCP and len(data) >= 20:
        return _tcp(packet)
    if packet.proto == UDP and len(data) >= 8:
        return _udp(packet)
    if packet.proto in _ECHO and len(data) >= 8:
        return _icmp(packet, name)
    if packet.proto == SCTP and len(data) >= 12:
        return Transport(name, *_ports(data), key=_key(name, packet, data[12:]))
    return Transport(name, key=_key(name, packet, data))


def _tcp(packet: Ip) -> Transport:
    sport, dport, sequence, acknowledged, size, flags, *_ = _TCP.unpack_from(packet.payload)
    header = (size >> 4) * 4
    body = packet.payload[header:]
    stamp = _timestamp(packet.payload[20:header])
    note = notes.tcp(flags, body, dns=53 in (sport, dport))
    return Transport("tcp", sport, dport, note, _key("tcp", packet, sequence, acknowledged, flags, stamp, body))


def _timestamp(options: bytes) -> int:
    """The sender's clock (TSval), which differs between a segment and its retransmission; 0 for none."""
    offset = 0
    while offset < len(options):
        kind = options[offset]
        if kind == 1:
            offset += 1
            continue
        if kind == 0 or offset + 1 >= len(options) or options[offset + 1] < 2:
            break
        if kind == 8:
            return int.from_bytes(options[offset + 2 : offset + 6], "big")
        offset += options[offset + 1]
    return 0


def _udp(packet: Ip) -> Transport:
    sport, dport = _ports(packet.payload)
    body = packet.payload[8:]
    note = notes.dns(body) if 53 in (sport, dport) else ""
    return Transport("udp", sport, dport, note, _key("udp", packet, body))


def _icmp(packet: Ip, name: str) -> Transport:
    data = packet.payload
    kind, code = data[0], data[1]
    note = notes.icmp(packet.proto, kind, code, data[4:])
    if kind in _ECHO[packet.proto]:
        ident, sequence = int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big")
        return Transport(name, ident, 0, note, _key(name, packet, kind, sequence, data[8:]))
    if kind in _ERRORS[packet.proto] and (inside := ip(data[8:])):
        return Transport(name, note=note, key=_key(name, packet, kind, code, _embedded(inside)), about=_about(inside))
    return Transport(name, note=note, key=_key(name, packet, data[:2], data[4:]))


def _embedded(inside: Ip) -> str:
    """What NAT leaves alone in the packet an ICMP error carries, of which only 8 bytes behind IP are sure."""
    data = inside.payload
    if inside.proto == TCP:
        return f"{inside.ident}.{data[4:8].hex()}"
    if inside.proto in _ECHO:
        return f"{inside.ident}.{data[:1].hex()}.{data[6:8].hex()}"
    return f"{inside.ident}.{data[4:6].hex()}.{_digest(data[8:])}"


def _about(inside: Ip) -> str:
    name = NAMES.get(inside.proto, str(inside.proto))
    if inside.proto not in (TCP, UDP, SCTP) or len(inside.payload) < 4:
        return f"about {name} {inside.src} → {inside.dst}"
    sport, dport = _ports(inside.payload)
    around = ("[", "]") if inside.src.version == 6 else ("", "")
    return f"about {name} {inside.src.compressed.join(around)}:{sport} → {inside.dst.compressed.join(around)}:{dport}"


def _ports(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")


def _key(name: str, packet: Ip, *parts: bytes | int | str) -> str:
    told = (_digest(part) if isinstance(part, bytes) else str(part) for part in parts)
    return ":".join((name, str(packet.ident), *told))


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest() if data else "-"
