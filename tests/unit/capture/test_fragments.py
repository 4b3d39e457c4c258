"""Fragments are put together, whatever became of their headers."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from emu.capture.decode import records
from emu.capture.fragments import joined
from emu.capture.frame import Frame
from emu.plan.model import Role
from emu.trace.model import CapturePoint, Direction, PacketRecord

UPLINK = CapturePoint("node1", "eth0", Role.UPLINK, "node1")
POD = CapturePoint("default.a", "eth0", Role.POD_ETH, "default/a")
PAYLOAD = bytes(range(256)) * 8
WHOLE = IP(src="10.244.1.2", dst="10.244.2.2", id=77, ttl=63) / ICMP(id=5, seq=1) / Raw(PAYLOAD)


def frames(*packets: Packet, point: CapturePoint = UPLINK) -> list[Frame]:
    made = [bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet) for packet in packets]
    return [Frame(point, 1000 + at, Direction.OUT, data, len(data)) for at, data in enumerate(made)]


def seen(found: list[Frame]) -> tuple[PacketRecord, ...]:
    return records(joined(found))


def test_the_packet_in_pieces_is_the_one_that_was_seen_whole() -> None:
    (whole, cut) = seen([*frames(WHOLE, point=POD), *frames(*fragment(WHOLE, fragsize=1400))])
    assert whole.inner and cut.inner
    assert (whole.same, whole.inner.fragments) == (cut.same, 0)
    assert cut.inner == replace(whole.inner, fragments=2)


def test_headers_that_were_written_over_behind_the_first_do_not_matter() -> None:
    """As NAT and routing further on have left them."""
    first, second = fragment(WHOLE, fragsize=1400)
    second[IP].ttl, second[IP].src = 62, "192.168.100.11"
    (whole, cut) = seen([*frames(WHOLE, point=POD), *frames(first, second)])
    assert (cut.same, cut.inner and str(cut.inner.src)) == (whole.same, "10.244.1.2")


def test_what_lies_in_a_tunnel_is_put_together_too() -> None:
    outer = IP(src="192.168.100.11", dst="192.168.100.12") / UDP(sport=40000, dport=8472)
    wrapped = [outer / VXLAN(vni=1, flags=8) / Ether() / piece for piece in fragment(WHOLE, fragsize=1400)]
    (whole, cut) = seen([*frames(WHOLE, point=POD), *frames(*wrapped)])
    assert cut.encapsulation and cut.inner and cut.same == whole.same
    assert (cut.inner.fragments, cut.encapsulation.outer.fragments) == (2, 0)


def test_a_tunnels_packet_that_a_router_has_cut_is_put_together() -> None:
    outer = IP(src="192.168.100.11", dst="192.168.100.12", id=9) / UDP(sport=40000, dport=8472)
    wrapped = outer / VXLAN(vni=1, flags=8) / Ether() / WHOLE
    (whole, cut) = seen([*frames(WHOLE, point=POD), *frames(*fragment(IP(bytes(wrapped)), fragsize=1480))])
    assert cut.encapsulation and cut.inner and cut.same == whole.same
    assert (cut.inner.fragments, cut.encapsulation.outer.fragments) == (0, 2)


def test_ipv6_has_its_fragments_in_a_header_of_their_own() -> None:
    plain = IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(id=5, seq=1, data=PAYLOAD)
    body = bytes(plain)[40:]
    pieces = [
        IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(nh=58, offset=at // 8, m=more, id=number) / Raw(part)
        for at, more, number, part in ((0, 1, 1, body[:1432]), (1432, 0, 2, body[1432:]))
    ]
    (whole, cut) = seen([*frames(plain, point=POD), *frames(*pieces)])
    assert whole.inner and cut.inner == replace(whole.inner, fragments=2)
    assert cut.same == whole.same


def test_of_which_one_is_missing_they_stay_what_they_are() -> None:
    first, _, last = fragment(WHOLE, fragsize=800)
    assert [record.inner and record.inner.note for record in seen(frames(first, last))] == [
        "echo request",
        "fragment at 1600",
    ]


def test_two_packets_in_pieces_at_a_time_are_told_apart() -> None:
    other = IP(src="10.244.1.3", dst="10.244.2.2", id=78, ttl=63) / ICMP(id=6, seq=1) / Raw(PAYLOAD)
    (a, b), (c, d) = (fragment(each, fragsize=1400) for each in (WHOLE, other))
    found = seen(frames(a, c, d, b))
    assert [str(record.inner.src) for record in found if record.inner] == ["10.244.1.2", "10.244.1.3"]
