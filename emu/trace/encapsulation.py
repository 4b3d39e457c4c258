"""The simulator's packets into tunnels and out of them: VXLAN by its link, IPIP by the module or by programs."""

from __future__ import annotations

from emu.plan import render
from emu.plan.model import IPAddress, IpipBy, Link
from emu.trace import refusals, sizes, tunnels
from emu.trace.carrier import Carrier
from emu.trace.model import CauseKind, Direction, Headers
from emu.trace.packet import Packet
from emu.trace.world import Machine, Query


def into_vxlan(carrier: Carrier, machine: Machine, link: Link, packet: Packet) -> None:
    vxlan = link.vxlan
    assert vxlan is not None
    told = packet.key if vxlan.external else None
    vni, end = told or (vxlan.vni, _forwarded(carrier, machine, link, packet))
    if end is None:
        return
    outside = carrier.world.machines[vxlan.socket or machine.name]
    # The outer packet is the same buffer: it keeps the mark (iptunnel_xmit) where it stays in the netns, but is a flow
    # of its own.
    mark = packet.mark if outside is machine else 0
    route = outside.route(Query(end, vxlan.local, mark=mark))
    source = vxlan.local or (outside.source(route, end) if route else None)
    if source is None:
        carrier.way.stop(f"{outside.plan.owner} has no route to {end}")
        return
    outer = Headers(src=source, dst=end, proto="udp", dport=vxlan.port, ttl=refusals.TTL)
    around = Packet(outer, mark=mark, inside=packet, vni=vni)
    carrier.output(outside, sizes.wrap(around, packet))


def _forwarded(carrier: Carrier, machine: Machine, link: Link, packet: Packet) -> IPAddress | None:
    entry = machine.fdb.get((link.name, packet.dst_mac))
    if entry is None:
        carrier.way.stop(f"{machine.plan.owner}: {link.name} has no FDB entry for {packet.dst_mac.strip('?')}")
        return None
    carrier.because(CauseKind.FDB, machine, render.fdb(entry), f"VXLAN to {entry.dst}")
    return entry.dst


def into_ipip(carrier: Carrier, machine: Machine, link: Link, packet: Packet, next_hop: IPAddress) -> None:
    """The gateway is where the tunnel ends: nobody is asked for a MAC."""
    assert link.ipip is not None
    packet.src_mac = packet.dst_mac = ""
    carrier.seen(machine, link, packet, Direction.OUT)
    outer = Headers(src=link.ipip.local, dst=next_hop, proto="ipip", ttl=packet.headers.ttl)
    around = sizes.wrap(Packet(outer, mark=packet.mark, inside=packet, tunnel="ipip"), packet)
    carrier.because(CauseKind.TUNNEL, machine, tunnels.text(machine, link), f"IPIP to {next_hop}")
    if link.ipip.by is IpipBy.MODULE:
        carrier.output(machine, around)
    else:
        carrier.redirect_to_neighbor(machine, link.ipip.dev, around)


def taken_out(carrier: Carrier, machine: Machine, packet: Packet, inside: Packet) -> None:
    if packet.tunnel == "ipip":
        _by_module(carrier, machine, inside)
        return
    for holder, link in carrier.world.tunnels(machine.name):
        vxlan = link.vxlan
        if vxlan and link.up and tunnels.fits(vxlan, packet):
            text = f"{link.name} {render.vxlan(vxlan)}"
            carrier.because(CauseKind.LOCAL, machine, text, f"VXLAN taken off by {link.name}")
            carrier.receive(holder, link, inside)
            return
    carrier.way.stop(f"{machine.plan.owner} has no VXLAN link {packet.vni} on port {packet.headers.dport}")


def _by_module(carrier: Carrier, machine: Machine, inside: Packet) -> None:
    link = tunnels.by_module(machine)
    if link is None:
        carrier.way.stop(f"{machine.plan.owner} has nothing behind IP that takes IPIP off")
        return
    carrier.because(CauseKind.TUNNEL, machine, tunnels.text(machine, link), f"IPIP taken off by {link.name}")
    carrier.receive(machine, link, inside)
