"""Frames for tests, built by scapy: an independent hand."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from emu.capture.frame import ETHERNET, Frame
from emu.plan.model import Role
from emu.trace.model import CapturePoint, Direction

POD = CapturePoint("default.web", "eth0", Role.POD_ETH, "default/web", "default/web")
VETH = CapturePoint("node1", "veth0a1b2c3d", Role.HOST_VETH, "default/web", "node1")
CNI0 = CapturePoint("node1", "cni0", Role.BRIDGE, "node1", "node1")
FLANNEL = CapturePoint("node1", "flannel.1", Role.TUNNEL, "node1", "node1")
UPLINK = CapturePoint("node1", "eth0", Role.UPLINK, "node1", "node1")

CLIENT, VIP, WEB = "10.244.1.3", "10.96.10.10", "10.244.2.3"


def frame(
    packet: Packet,
    point: CapturePoint = POD,
    time_ns: int = 1,
    direction: Direction = Direction.OUT,
    linktype: int = ETHERNET,
) -> Frame:
    data = bytes(packet)
    return Frame(point, time_ns, direction, data, len(data), (), linktype)


def ether() -> Packet:
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def tcp(
    src: str = CLIENT, dst: str = VIP, *, sport: int = 40000, dport: int = 80, ident: int = 7, **fields: object
) -> Packet:
    return IP(src=src, dst=dst, id=ident) / TCP(sport=sport, dport=dport, **fields)


def udp(
    src: str = CLIENT, dst: str = VIP, *, sport: int = 40000, dport: int = 5353, ident: int = 0, body: bytes = b"hello"
) -> Packet:
    return IP(src=src, dst=dst, id=ident, flags="DF") / UDP(sport=sport, dport=dport) / Raw(body)


def ping(
    src: str = CLIENT, dst: str = WEB, *, kind: int = 8, ident: int = 77, number: int = 1, body: bytes = b"abcd"
) -> Packet:
    return IP(src=src, dst=dst, id=9) / ICMP(type=kind, id=ident, seq=number) / Raw(body)


def in_vxlan(inner: Packet, port: int = 8472) -> Packet:
    outer = Ether(src="02:00:00:00:0a:01", dst="02:00:00:00:0a:02") / IP(src="192.168.100.11", dst="192.168.100.12")
    return outer / UDP(sport=50000, dport=port) / VXLAN(vni=1, flags=8) / ether() / inner
