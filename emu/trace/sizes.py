"""How long a packet is, in how many pieces it goes, and what it does not fit through. Lengths are of whole IP packets,
in bytes; a length of 0 is unknown, and fits everywhere.

Who cuts and who puts together (net/ipv4/ip_output.c, ip_forward.c, net/ipv6/ip6_output.c, nf_defrag_ipv4.c): IPv4 is
cut by whoever sends it on to a device that takes less, unless "don't fragment" is set; IPv6 by its sender alone.
Conntrack puts pieces together in PREROUTING, so that rules see ports, and what it has put together is cut again on the
way out, in pieces no longer than they were. Where there is no conntrack pieces go their way each by itself."""

from __future__ import annotations

from itertools import chain

from emu.trace.packet import Packet

HEADER = {4: 20, 6: 40}
FRAGMENT_HEADER = {4: 0, 6: 8}
#: Between the outer IP header and the inner: UDP 8, VXLAN 8, Ethernet 14.
BETWEEN = {"vxlan": 30, "ipip": 0}
UNKNOWN = -1  # of Packet.largest
VLAN_TAG = 4  # a veth, and a bridge's port, take that much more than their MTU (__is_skb_forwardable)
TOO_LONG = "message too long"


def longest(packet: Packet) -> int:
    """Of what of it is on the way as one."""
    version = packet.headers.dst.version
    if not packet.pieces:
        return packet.length
    return HEADER[version] + FRAGMENT_HEADER[version] + max(packet.pieces)


def stuck(packet: Packet, mtu: int, *, forwarded: bool) -> bool:
    """Too long, and it may not be cut."""
    if longest(packet) <= mtu:
        return False
    if packet.headers.dst.version == 6 and forwarded:
        return packet.largest == 0 or packet.largest > mtu
    return packet.df


def heeds_route(packet: Packet) -> bool:
    """Whether its sender looks at the MTU of the route, which may be less than the device's: all but the request of a
    trace over IPv6."""
    return packet.answer or packet.headers.dst.version == 4


def cut(packet: Packet, mtu: int) -> None:
    """In pieces that fit, as ip_fragment does: all but the last a multiple of 8 bytes long."""
    version = packet.headers.dst.version
    limit = min(mtu, packet.largest) if packet.largest > 0 else mtu
    packet.largest = 0
    if longest(packet) > limit:
        room = limit - HEADER[version] - FRAGMENT_HEADER[version]
        before = packet.pieces or (packet.length - HEADER[version],)
        packet.pieces = tuple(chain.from_iterable(_cut(each, room) for each in before))


def _cut(length: int, room: int) -> list[int]:
    pieces = []
    while length > room:
        pieces.append(room // 8 * 8)
        length -= pieces[-1]
    return [*pieces, length]


def put_together(packet: Packet) -> None:
    if packet.pieces:
        packet.largest, packet.pieces = longest(packet), ()


def forget(packet: Packet) -> None:
    """From a bridge, whose filter has put it together, up to IP: that it was in pieces stays known, but not how long
    they were (IPCB is made empty in ip_rcv, ignore_df is not)."""
    packet.largest = UNKNOWN if packet.largest else 0


def wrap(outer: Packet, inner: Packet) -> Packet:
    """The outer packet with its length. VXLAN's has no "don't fragment" whatever the inner one says (`df unset`), but
    in IPv6 nothing is cut on the way; IPIP's says what the inner one says."""
    version = outer.headers.dst.version
    if inner.length:
        outer.length = longest(inner) + HEADER[version] + BETWEEN[outer.tunnel]
    outer.df = version == 6 if outer.tunnel == "vxlan" else inner.df
    return outer


def told(packet: Packet, mtu: int) -> str:
    """What ICMP says of a packet that does not fit, as the notes of a capture have it."""
    return f"{'packet too big' if packet.headers.dst.version == 6 else 'fragmentation needed'}, mtu {mtu}"
