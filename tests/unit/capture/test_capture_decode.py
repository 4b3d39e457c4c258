from __future__ import annotations

from dataclasses import replace

import pytest
from capture_packets import (
    CLIENT,
    CNI0,
    FLANNEL,
    POD,
    UPLINK,
    VETH,
    VIP,
    WEB,
    ether,
    frame,
    in_vxlan,
    ping,
    tcp,
    udp,
)
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from emu.capture.decode import decode, records
from emu.capture.frame import RAW
from emu.trace.model import Direction


def same(packet: Packet) -> str:
    return decode(frame(ether() / packet)).same


def test_addresses_ports_and_macs_are_those_on_the_wire() -> None:
    record = decode(frame(ether() / tcp(flags="S")))
    assert record.inner is not None
    assert (str(record.inner.src), str(record.inner.dst), record.inner.ttl) == (CLIENT, VIP, 64)
    assert (record.inner.proto, record.inner.sport, record.inner.dport, record.inner.note) == ("tcp", 40000, 80, "SYN")
    assert (record.src_mac, record.dst_mac) == ("02:00:00:00:00:01", "02:00:00:00:00:02")


@pytest.mark.parametrize("port", [8472, 4789])
def test_a_vxlan_frame_shows_both_pairs_of_addresses(port: int) -> None:
    record = decode(frame(in_vxlan(tcp(flags="S"), port), UPLINK))
    assert record.inner and record.encapsulation
    assert (str(record.inner.dst), record.encapsulation.kind, record.encapsulation.vni) == (VIP, "vxlan", 1)
    outer = record.encapsulation.outer
    assert (str(outer.src), str(outer.dst), outer.proto, outer.dport) == (
        "192.168.100.11",
        "192.168.100.12",
        "udp",
        port,
    )
    assert record.src_mac == "02:00:00:00:00:01"
    assert record.encapsulation.outer_src_mac == "02:00:00:00:0a:01"


def test_udp_on_another_port_is_not_taken_for_vxlan() -> None:
    assert decode(frame(in_vxlan(tcp(), 8473))).encapsulation is None


def test_ipip_shows_both_pairs_of_addresses() -> None:
    packet = ether() / IP(src="192.168.100.11", dst="192.168.100.12") / tcp()
    record = decode(frame(packet))
    assert record.encapsulation and record.inner
    assert (record.encapsulation.kind, str(record.encapsulation.outer.dst)) == ("ipip", "192.168.100.12")
    assert (str(record.inner.src), record.src_mac) == (CLIENT, "")


def test_a_raw_link_begins_with_ip() -> None:
    record = decode(frame(tcp(), linktype=RAW))
    assert record.inner and (str(record.inner.dst), record.src_mac) == (VIP, "")


def test_a_vlan_tag_is_passed_over() -> None:
    record = decode(frame(Ether() / Dot1Q(vlan=5) / tcp()))
    assert record.inner and record.inner.dport == 80


TUNNEL = {
    "plain": lambda packet: ether() / packet,
    "vxlan": in_vxlan,
    "ipip": lambda packet: ether() / IP(src="192.168.100.11", dst="192.168.100.12") / packet,
}


@pytest.mark.parametrize("tunnel", TUNNEL)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (tcp(flags="S", seq=5), tcp(dst=WEB, dport=8080, flags="S", seq=5)),
        (tcp(flags="S", seq=5), tcp("192.168.100.11", WEB, sport=61000, dport=8080, flags="S", seq=5)),
        (udp(ident=4), udp(dst=WEB, dport=53, ident=4)),
        (udp(), udp(dst=WEB, dport=53)),
        (ping(), ping("192.168.100.11", ident=4711)),
    ],
    ids=["tcp-dnat", "tcp-dnat-snat", "udp-dnat", "udp-without-ident", "icmp-snat"],
)
def test_nat_and_tunnels_leave_the_key_alone(before: Packet, after: Packet, tunnel: str) -> None:
    assert same(before) == decode(frame(TUNNEL[tunnel](after))).same


def test_routing_leaves_the_key_alone() -> None:
    routed = tcp()
    routed.ttl = 62
    assert same(tcp()) == same(routed)


def tcp_at(clock: int, ident: int = 0) -> Packet:
    return tcp(ident=ident, seq=5, options=[("NOP", None), ("Timestamp", (clock, 0))])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (tcp(seq=5, ident=1), tcp(seq=5, ident=2)),
        (tcp_at(1000), tcp_at(1200)),
        (tcp(flags="S", seq=5), tcp(flags="SA", seq=5)),
        (tcp(seq=5) / Raw(b"a"), tcp(seq=5) / Raw(b"b")),
        (ping(number=1), ping(number=2)),
        (ping(), ping(kind=0)),
        (udp(body=b"a"), udp(body=b"b")),
    ],
    ids=["retransmission", "retransmission-by-clock", "syn-ack", "payload", "next ping", "ping reply", "datagram"],
)
def test_different_packets_have_different_keys(one: Packet, other: Packet) -> None:
    assert same(one) != same(other)


def icmp_error(inside: Packet) -> Packet:
    return IP(src="10.244.1.1", dst=CLIENT, id=3) / ICMP(type=3, code=3) / inside


def test_an_icmp_error_keeps_its_key_when_nat_translates_what_it_carries() -> None:
    there, here = icmp_error(udp(dst=WEB, dport=53, ident=4)), icmp_error(udp(dst=VIP, ident=4))
    assert same(there) == same(here) != same(icmp_error(udp(ident=5)))


def test_an_icmp_error_says_what_it_is_about() -> None:
    record = decode(frame(ether() / icmp_error(udp())))
    assert record.inner and record.inner.note == "unreachable: port"
    assert record.summary == "about udp 10.244.1.3:40000 → 10.96.10.10:5353"


DNS_QUERY = UDP(sport=40000, dport=53) / DNS(id=9, qd=DNSQR(qname="web.default.svc.cluster.local", qtype="AAAA"))
DNS_ANSWER = UDP(sport=53, dport=40000) / DNS(
    id=9, qr=1, qd=DNSQR(qname="web.example"), an=[DNSRR(rrname="web.example", rdata="10.0.0.1")]
)
NXDOMAIN = UDP(sport=53, dport=40000) / DNS(id=9, qr=1, rcode=3, qd=DNSQR(qname="no.example"))


@pytest.mark.parametrize(
    ("packet", "note"),
    [
        (tcp(flags="S"), "SYN"),
        (tcp(flags="SA"), "SYN-ACK"),
        (tcp(flags="A"), "ACK"),
        (tcp(flags="FA"), "FIN"),
        (tcp(flags="RA"), "RST"),
        (tcp(flags="PA") / Raw(b"GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n"), "GET /hostname HTTP/1.1"),
        (tcp(flags="PA") / Raw(b"xyz"), "3 bytes"),
        (ping(), "echo request"),
        (ping(kind=0), "echo reply"),
        (icmp_error(udp()), "unreachable: port"),
        (IP() / ICMP(type=3, code=4, nexthopmtu=1450) / udp(), "fragmentation needed, mtu 1450"),
        (IP() / DNS_QUERY, "AAAA? web.default.svc.cluster.local."),
        (IP() / DNS_ANSWER, "A web.example. NOERROR, 1 answer"),
        (IP() / NXDOMAIN, "A no.example. NXDOMAIN"),
        (IP(frag=100) / Raw(b"rest"), "fragment at 800"),
        (IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(id=5), "echo request"),
        (IPv6(src="fd00::1", dst="ff02::1") / ICMPv6ND_NS(tgt="fd00::2"), "neighbor solicitation: who has fd00::2?"),
        (
            IPv6(src="fd00::2", dst="fd00::1")
            / ICMPv6ND_NA(tgt="fd00::2")
            / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:02"),
            "neighbor advertisement: fd00::2 is at 02:00:00:00:00:02",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_note_says_what_the_packet_is_for(packet: Packet, note: str) -> None:
    record = decode(frame(ether() / packet))
    assert record.inner and record.inner.note == note


def test_padding_of_a_short_frame_is_no_payload() -> None:
    padded = ether() / tcp(flags="A") / Raw(b"")
    record = decode(replace(frame(padded), data=bytes(padded) + bytes(6)))
    assert record.inner and record.inner.note == "ACK"


@pytest.mark.parametrize(
    ("packet", "summary"),
    [
        (ARP(op=1, psrc="10.244.1.3", pdst="10.244.1.1"), "ARP who has 10.244.1.1? tell 10.244.1.3"),
        (ARP(op=2, psrc="10.244.1.1", hwsrc="02:00:00:00:00:09"), "ARP 10.244.1.1 is at 02:00:00:00:00:09"),
    ],
)
def test_arp_is_summed_up(packet: Packet, summary: str) -> None:
    record = decode(frame(ether() / packet))
    assert (record.inner, record.summary) == (None, summary)


def test_arp_in_a_tunnel_is_summed_up_and_keeps_its_outer_headers() -> None:
    record = decode(frame(in_vxlan(ARP(op=1, psrc="10.244.1.0", pdst="10.244.2.0"))))
    assert (record.inner, record.summary) == (None, "ARP who has 10.244.2.0? tell 10.244.1.0")
    assert record.encapsulation and record.encapsulation.kind == "vxlan"


@pytest.mark.parametrize("size", range(0, 90, 7))
def test_a_cut_off_frame_is_no_error(size: int) -> None:
    whole = frame(in_vxlan(tcp(flags="S")))
    decode(replace(whole, data=whole.data[:size]))


def test_an_echoed_datagram_is_another_packet_than_its_request() -> None:
    """UDP without connection and with "don't fragment" has IP identification 0, and an echo the same payload."""
    there = [(POD, udp()), (VETH, udp()), (UPLINK, udp(dst=WEB, dport=7))]
    back = [(UPLINK, udp(WEB, CLIENT, sport=7, dport=40000)), (POD, udp(VIP, CLIENT, sport=5353, dport=40000))]
    found = records(frame(ether() / packet, point, time) for time, (point, packet) in enumerate(there + back))
    assert len({record.same for record in found[:3]}) == 1
    assert len({record.same for record in found[3:]}) == 1
    assert found[0].same != found[3].same


def test_a_datagram_sent_twice_is_two_packets_at_every_point() -> None:
    found = records(frame(ether() / udp(), point, time) for time, point in enumerate((POD, CNI0, POD, CNI0)))
    assert found[0].same == found[1].same != found[2].same == found[3].same


def test_a_packet_that_enters_and_leaves_one_interface_is_one_packet() -> None:
    """Hairpin: in and out of one port, first to the Service address, then to the Pod behind it."""
    there = frame(ether() / udp(), VETH, 1, Direction.IN)
    back = frame(ether() / udp(CLIENT, CLIENT, dport=53), VETH, 2, Direction.OUT)
    assert len({record.same for record in records([there, back])}) == 1


def test_a_packet_that_goes_in_circles_is_one_packet() -> None:
    def at(ttl: int) -> Packet:
        packet = udp()
        packet.ttl = ttl
        return ether() / packet

    assert len({record.same for record in records(frame(at(64 - turn), FLANNEL, turn) for turn in range(5))}) == 1
