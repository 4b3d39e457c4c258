"""IPVS on a packet's way: the virtual service that takes it, the server it is given, and how it goes on.

It stands in INPUT behind all but nat's rules (NF_IP_PRI_NAT_SRC - 1), sends the packet on by OUTPUT and POSTROUTING,
and gives the answers the service's address back in FORWARD. With net.ipv4.vs.conntrack the connection's entry says
the same as one of DNAT, and rules may change the source (ip_vs_nfct.c); without, conntrack never hears of it.
Source: net/netfilter/ipvs/ip_vs_core.c, ip_vs_xmit.c, ip_vs_conn.c."""

from __future__ import annotations

from dataclasses import replace

from emu.errors import PlanError
from emu.plan.ipvs import Forwarding, RealServer, VirtualService
from emu.plan.model import NetnsPlan
from emu.trace import conntrack
from emu.trace.carrier import Carrier
from emu.trace.changed import endpoint
from emu.trace.firewall import At
from emu.trace.model import CauseKind, Verdict
from emu.trace.packet import Packet
from emu.trace.world import Machine, Query

BALANCED = ("tcp", "udp", "sctp")
#: In turn, or to whom has least to do: over many connections each of the same weight gets as many.
_IN_TURN = ("rr", "lc")
TRACKED = "net.ipv4.vs.conntrack"


def taken(carrier: Carrier, machine: Machine, packet: Packet) -> bool:
    """True: it has been sent on, or refused."""
    service = service_of(machine.plan, packet) if machine.plan.virtual_services else None
    if service is None:
        return False
    servers, weights = _servers(machine.plan, service)
    if not servers:
        # The answer comes from the virtual address itself, as a host's whose port is closed (ip_vs_leave).
        carrier.because(CauseKind.LOCAL, machine, f"local {packet.headers.dst}", "refused by IPVS")
        carrier.fail(machine, packet, "unreachable: port", "")
        carrier.way.stop(f"{machine.plan.owner}: IPVS has no server for {service}", Verdict.DELIVERED)
        return True
    _send_on(carrier, machine, packet, service, servers[carrier.choose(weights)])
    return True


def service_of(plan: NetnsPlan, packet: Packet) -> VirtualService | None:
    """By its mark first (ip_vs_service_find). Of ICMP only errors about connections are IPVS's."""
    headers = packet.headers
    if headers.proto not in BALANCED or packet.about is not None:
        return None
    fitting = [each for each in plan.virtual_services if each.taken.family == headers.dst.version]
    by_mark = (each for each in fitting if each.taken.mark and each.taken.mark == packet.mark)
    asked = (headers.proto, headers.dst, headers.dport)
    by_end = (e for e in fitting if not e.taken.mark and (e.taken.protocol, e.taken.address, e.taken.port) == asked)
    return next(by_mark, None) or next(by_end, None)


def _servers(plan: NetnsPlan, service: VirtualService) -> tuple[tuple[RealServer, ...], tuple[float, ...]]:
    """Those that are given new connections, and how many of them each is."""
    found = tuple(each for each in plan.real_servers if each.taken == service.taken and each.weight > 0)
    shares = [1 if service.scheduler in _IN_TURN else each.weight for each in found]
    return found, tuple(share / sum(shares) for share in shares)


def _send_on(carrier: Carrier, machine: Machine, packet: Packet, service: VirtualService, server: RealServer) -> None:
    if server.forwarding is not Forwarding.MASQ:
        raise PlanError(f"{machine.plan.owner}: cannot tell the way of {service} {server}: only Masq is predicted")
    if machine.sysctls.get(TRACKED) != "1" or packet.entry is None:
        raise PlanError(f"{machine.plan.owner}: cannot tell the way of {service} {server} without {TRACKED} 1")
    port = server.port or packet.headers.dport
    carrier.because(CauseKind.IPVS, machine, text(service, server), became(endpoint(server.address, port)))
    conntrack.destination_nat(packet.entry, server.address, port)
    packet.entry.balanced, packet.entry.destination_decided, packet.entry.source_decided = True, True, False
    packet.headers = replace(packet.headers, dst=server.address, dport=port)
    route = machine.route(Query(server.address))
    if route is None or route.type != "unicast":
        carrier.fail(machine, packet, "unreachable: host", f"{machine.plan.owner} has no route to {server.address}")
        return
    packet.lower_ttl()
    if carrier.hook(machine, packet, At("OUTPUT", oif=machine.device(route))):
        carrier.leave(machine, packet, route)


def text(service: VirtualService, server: RealServer) -> str:
    """The two lines of `ipvsadm -Ln`, as one."""
    return f"{service} {server}"


def became(end: str) -> str:
    return f"destination becomes {end}"
