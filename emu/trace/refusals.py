"""What is sent back about a packet that goes no further: an ICMP error, a RST."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from emu.plan.model import IPAddress
from emu.trace.model import Headers
from emu.trace.packet import Packet
from emu.trace.world import Machine, Query

TTL = 64  # net.ipv4.ip_default_ttl
NO_HOST = "unreachable: host"
NOTES = {
    "icmp-net-unreachable": "unreachable: net",
    "icmp-host-unreachable": NO_HOST,
    "icmp-proto-unreachable": "unreachable: protocol",
    "icmp-port-unreachable": "unreachable: port",
    "icmp6-port-unreachable": "unreachable: port",
    "icmp-net-prohibited": "unreachable: net prohibited",
    "icmp-host-prohibited": "unreachable: host prohibited",
    "icmp-admin-prohibited": "unreachable: admin prohibited",
}


def error_about(machine: Machine, packet: Packet, note: str) -> Packet | None:
    """Its source is the address the packet was sent to, if that is one of ours; else the one that the route back to
    the sender gives (icmp_send, net/ipv4/icmp.c). None where there is no such route."""
    headers = packet.headers
    source: IPAddress | None = headers.dst if machine.is_local(headers.dst) else None
    back = machine.route(Query(headers.src))
    if back is None:
        return None
    if source is None:
        source = machine.source(back, headers.src)
    proto = "icmp" if isinstance(headers.src, IPv4Address) else "icmp6"
    error = Headers(src=source or headers.dst, dst=headers.src, proto=proto, ttl=TTL, note=note)
    return Packet(error, about=headers)


def refusal(packet: Packet) -> Packet:
    """The RST for a SYN."""
    h = packet.headers
    return Packet(replace(h, src=h.dst, dst=h.src, sport=h.dport, dport=h.sport, ttl=TTL, note="RST"))
