"""Tunnels of a plan as the simulator asks them: who takes a packet out of one, what to name as the cause."""

from __future__ import annotations

from typing import NamedTuple

from emu.plan import render
from emu.plan.model import IpipBy, Link, Vxlan
from emu.trace.packet import Packet
from emu.trace.world import Machine

MODULE = "{}: any/ip remote any local any ttl inherit nopmtudisc"  # as `ip tunnel show` prints the module's tunl0


class Taken(NamedTuple):
    """`link`: where the packet comes in after the outer header is gone. `text`: the program that took it off."""

    link: Link
    text: str


def taken_off(machine: Machine, link: Link, packet: Packet) -> Taken | None:
    """By a program at the ingress of `link`, which stands before IP, and so takes nothing off a piece of a packet."""
    program = machine.program(link.name, "ingress")
    if program is None or packet.tunnel != "ipip" or packet.pieces:
        return None
    for tunnel in machine.links.values():
        ipip = tunnel.ipip
        if ipip and (ipip.by, ipip.dev, ipip.local) == (IpipBy.EBPF, link.name, packet.headers.dst) and tunnel.up:
            return Taken(tunnel, render.value_text(program))
    return None


def by_module(machine: Machine) -> Link | None:
    """The link that takes what comes with protocol 4 for an address of this machine."""
    links = (link for link in machine.links.values() if link.ipip and link.up)
    return next((link for link in links if link.ipip and link.ipip.by is IpipBy.MODULE), None)


def fits(vxlan: Vxlan, packet: Packet) -> bool:
    """Whether it takes this outer packet; an external link takes all VNIs. A VXLAN socket has one family."""
    version = vxlan.local.version if vxlan.local else 4
    if (version, vxlan.port) != (packet.headers.dst.version, packet.headers.dport):
        return False
    return vxlan.external or vxlan.vni == packet.vni


def text(machine: Machine, link: Link) -> str:
    """What puts the outer header on."""
    program = machine.program(link.name, "egress")
    return render.value_text(program) if program else MODULE.format(link.name)
