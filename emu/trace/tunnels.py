"""IPIP links of a plan as the simulator asks them: who takes a packet out of the tunnel, what to name as the cause."""

from __future__ import annotations

from typing import NamedTuple

from emu.plan import render
from emu.plan.model import IpipBy, Link
from emu.trace.packet import Packet
from emu.trace.world import Machine

MODULE = "{}: any/ip remote any local any ttl inherit nopmtudisc"  # as `ip tunnel show` prints the module's tunl0


class Taken(NamedTuple):
    """`link`: where the packet comes in after the outer header is gone. `text`: the program that took it off."""

    link: Link
    text: str


def taken_off(machine: Machine, link: Link, packet: Packet) -> Taken | None:
    """By a program at the ingress of `link`, which stands before IP, and so takes nothing off a piece of a packet."""
    if packet.pieces:
        return None
    for program in machine.plan.programs:
        if (program.dev, program.where) != (link.name, "ingress") or packet.tunnel != "ipip":
            continue
        for tunnel in machine.links.values():
            ipip = tunnel.ipip
            if ipip and (ipip.by, ipip.dev, ipip.local) == (IpipBy.EBPF, link.name, packet.headers.dst) and tunnel.up:
                return Taken(tunnel, render.value_text(program))
    return None


def by_module(machine: Machine) -> Link | None:
    """The link that takes what comes with protocol 4 for an address of this machine."""
    links = (link for link in machine.links.values() if link.ipip and link.up)
    return next((link for link in links if link.ipip and link.ipip.by is IpipBy.MODULE), None)


def text(machine: Machine, link: Link) -> str:
    """What puts the outer header on."""
    found = (program for program in machine.plan.programs if (program.dev, program.where) == (link.name, "egress"))
    return next((render.value_text(program) for program in found), MODULE.format(link.name))
