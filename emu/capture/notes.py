"""A few words on what a packet is for: `SYN-ACK`, `A? web.default.svc.cluster.local.`, `unreachable: port`."""

from __future__ import annotations

from ipaddress import IPv6Address

from emu.capture.ip import ICMP, ICMP6

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"HTTP/1.")

# https://www.iana.org/assignments/icmp-parameters and icmpv6-parameters: (type, code), code None for any.
_ICMP = {
    (0, None): "echo reply",
    (8, None): "echo request",
    (3, 0): "unreachable: net",
    (3, 1): "unreachable: host",
    (3, 2): "unreachable: protocol",
    (3, 3): "unreachable: port",
    (3, 4): "fragmentation needed",
    (3, 9): "unreachable: net prohibited",
    (3, 10): "unreachable: host prohibited",
    (3, 13): "unreachable: admin prohibited",
    (3, None): "unreachable",
    (5, None): "redirect",
    (11, None): "time exceeded",
    (12, None): "parameter problem",
}
_ICMP6 = {
    (128, None): "echo request",
    (129, None): "echo reply",
    (1, 0): "unreachable: net",
    (1, 1): "unreachable: admin prohibited",
    (1, 3): "unreachable: host",
    (1, 4): "unreachable: port",
    (1, None): "unreachable",
    (2, None): "packet too big",
    (3, None): "time exceeded",
    (4, None): "parameter problem",
    (133, None): "router solicitation",
    (134, None): "router advertisement",
    (135, None): "neighbor solicitation",
    (136, None): "neighbor advertisement",
    (143, None): "multicast listener report",
}
_SOLICITATION, _ADVERTISEMENT = 135, 136
_TARGET_MAC = b"\x02"
_TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    65: "HTTPS",
    255: "ANY",
}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def tcp(flags: int, body: bytes, *, dns: bool = False) -> str:
    if flags & _RST:
        return "RST"
    if flags & _SYN:
        return "SYN-ACK" if flags & _ACK else "SYN"
    if body:
        return _data(body, dns)
    return "FIN" if flags & _FIN else "ACK"


def icmp(proto: int, kind: int, code: int, rest: bytes = b"") -> str:
    """`rest`: what is behind the checksum: there it is said what would fit, and whose MAC is asked for."""
    known = _ICMP if proto == ICMP else _ICMP6
    if (proto, kind, code) == (ICMP, 3, 4):
        return f"{known[kind, code]}, mtu {int.from_bytes(rest[2:4], 'big')}"
    if (proto, kind) == (ICMP6, 2):
        return f"{known[kind, None]}, mtu {int.from_bytes(rest[:4], 'big')}"
    if proto == ICMP6 and kind in (_SOLICITATION, _ADVERTISEMENT) and len(rest) >= 20:
        return _neighbor(kind, IPv6Address(rest[4:20]), rest[20:])
    return known.get((kind, code)) or known.get((kind, None)) or f"type {kind} code {code}"


def _neighbor(kind: int, target: IPv6Address, options: bytes) -> str:
    """As ARP is told. An advertisement has the MAC in an option, the first one (RFC 4861, 4.4)."""
    if kind == _SOLICITATION:
        return f"neighbor solicitation: who has {target}?"
    mac = f" is at {options[2:8].hex(':')}" if options[:1] == _TARGET_MAC and len(options) >= 8 else ""
    return f"neighbor advertisement: {target}{mac}"


def dns(message: bytes) -> str:
    """The first question, as tcpdump asks it; of an answer, the name, the code and how many records."""
    try:
        name, end = _name(message, 12)
        kind = int.from_bytes(message[end : end + 2], "big")
        said = _TYPES.get(kind, f"TYPE{kind}")
        if not message[2] & 0x80:
            return f"{said}? {name}"
        code = message[3] & 15
        answers = int.from_bytes(message[6:8], "big")
        counted = f", {answers} answer{'s' * (answers != 1)}" if code == 0 else ""
        return f"{said} {name} {_RCODES.get(code, f'RCODE{code}')}{counted}"
    except (IndexError, UnicodeDecodeError):
        return ""


def _name(message: bytes, offset: int) -> tuple[str, int]:
    """The name of a question, which is never compressed, and where it ends."""
    labels: list[str] = []
    while length := message[offset]:
        labels.append(message[offset + 1 : offset + 1 + length].decode("ascii"))
        offset += length + 1
    return ".".join(labels) + ".", offset + 1


def _data(body: bytes, dns_port: bool) -> str:
    if dns_port and (said := dns(body[2:])):  # DNS over TCP: a length of two bytes first
        return said
    if body.startswith(_METHODS):
        return body.split(b"\r\n", 1)[0][:80].decode("ascii", "replace")
    return f"{len(body)} bytes"
