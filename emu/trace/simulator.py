"""A packet's way through the planned networks, as Linux would carry it. Knows no CNI or proxy mode: only links, routes,
neighbors, forwarding entries and rules.

What a packet socket sees, and in which state (tried on Linux 6.18; net/bridge/br_netfilter_hooks.c):
a device shows what comes in before PREROUTING, and what goes out after POSTROUTING. With br_netfilter on, a bridge
filters frames as they enter a port, so on the bridge device itself they appear with their destination rewritten.
A frame switched between two ports is not seen on the bridge device; one that NAT sent to another Pod of the same
bridge is put into the bridge anew (br_nf_pre_routing_finish_bridge), with its sender's MAC and its TTL kept: if the
neighbor entry is confirmed the frame goes straight to the port, else by way of the bridge device, which shows it."""

from __future__ import annotations

from emu.netfilter.evaluate import Outcome
from emu.plan import expectations, render
from emu.plan.model import IPAddress, Link, Route
from emu.trace import balancer, encapsulation, refusals, sizes, tunnels
from emu.trace.addresses import unanswered
from emu.trace.changed import endpoint
from emu.trace.conntrack import Conntrack
from emu.trace.firewall import At, Choose, Firewall
from emu.trace.hooks import at_hook
from emu.trace.model import CapturePoint, Cause, CauseKind, Direction, Verdict
from emu.trace.packet import Journey, Packet, hop_of
from emu.trace.world import Machine, Query, World

MAX_HOPS = 200
UNCONFIRMED = "seen here only while the neighbor entry is not confirmed"


class Simulator:
    """One flow's packets; conntrack is kept between them."""

    def __init__(self, world: World, choose: Choose) -> None:
        self.world = world
        self.choose = choose
        self.firewall = Firewall(choose)
        self.masqueraded: dict[str, Conntrack] = {}  # by programs, in each netns
        self.way = Journey()

    def send(self, netns: str, packet: Packet) -> Journey:
        """A packet made by a socket (or by the kernel) in a netns, to wherever it ends."""
        self.way = Journey()
        self.output(self.world.machines[netns], packet)
        return self.way

    # --- IP -------------------------------------------------------------------------------------------------------

    def output(self, machine: Machine, packet: Packet) -> None:
        route = machine.route(Query(packet.headers.dst, packet.headers.src, mark=packet.mark))
        if route is None or route.type not in ("unicast", "local"):
            self.way.stop(f"{self._label(machine)} has no route to {packet.headers.dst}")
            return
        mtu = machine.mtu(route, sizes.heeds_route(packet))
        if packet.inside is None and sizes.stuck(packet, mtu, forwarded=False):  # the socket's own check
            self.way.stop(f"{sizes.TOO_LONG}, mtu {mtu}")
            return
        before = (packet.headers.dst, packet.mark)
        if not self.hook(machine, packet, At("OUTPUT", oif=machine.device(route))):
            return
        if before != (packet.headers.dst, packet.mark):  # ip_route_me_harder: the source stays as it was chosen
            again = machine.route(Query(packet.headers.dst, packet.headers.src, mark=packet.mark))
            if again is None:
                self.way.stop(f"{self._label(machine)} has no route to {packet.headers.dst}")
                return
            route = again
        if route.type == "local":
            self._loop_back(machine, packet, route)
        else:
            self.leave(machine, packet, route)

    def _loop_back(self, machine: Machine, packet: Packet, route: Route) -> None:
        """To an address of this netns: over lo, which is no capture point."""
        self.because(CauseKind.ROUTE, machine, route_text(route), "to a socket here, over lo")
        at = At("POSTROUTING", oif="lo", next_hop=packet.headers.dst)
        if self.hook(machine, packet, at):
            self._deliver(machine, packet, "lo")

    def _input(self, machine: Machine, dev: str, packet: Packet, prerouted: bool = False) -> None:
        if not prerouted and not self.hook(machine, packet, At("PREROUTING", iif=dev)):
            return
        headers = packet.headers
        route = machine.route(Query(headers.dst, headers.src, iif=dev, mark=packet.mark))
        if route is not None and route.type == "local":
            self._deliver(machine, packet, dev)
        elif not machine.forwards(headers.dst.version):
            self.way.stop(f"{self._label(machine)} does not forward, and {headers.dst} is not its own")
        elif route is None or route.type == "unreachable":
            note = "net" if route is None else "host"
            self.fail(machine, packet, f"unreachable: {note}", f"{self._label(machine)} has no route to {headers.dst}")
        elif route.type != "unicast":
            self.because(CauseKind.ROUTE, machine, route_text(route), "dropped")
            self.way.stop(f"{self._label(machine)}: {route_text(route)}")
        else:
            self._forward(machine, dev, packet, route)

    def _forward(self, machine: Machine, dev: str, packet: Packet, route: Route) -> None:
        if packet.headers.ttl <= 1:
            self.fail(machine, packet, "time exceeded", "the TTL ran out")
            return
        if not self._passes(machine, packet, route, forwarded=True):
            return
        packet.lower_ttl()
        if self.hook(machine, packet, At("FORWARD", iif=dev, oif=machine.device(route))):
            self.leave(machine, packet, route)

    def leave(self, machine: Machine, packet: Packet, route: Route) -> None:
        dev = machine.device(route)
        next_hop = route.via or packet.headers.dst
        instead = expectations.instead(machine.plan, route.dst, packet.headers.dst)
        self.because(CauseKind.ROUTE, machine, route_text(route), f"to {dev}{instead}")
        if not self.hook(machine, packet, At("POSTROUTING", oif=dev, next_hop=next_hop)):
            return
        if not self._passes(machine, packet, route, forwarded=False):
            return
        sizes.cut(packet, machine.mtu(route, sizes.heeds_route(packet)))
        if machine.links[dev].ipip is not None:
            encapsulation.into_ipip(self, machine, machine.links[dev], packet, next_hop)
            return
        mac = self._neighbor(machine, dev, next_hop)
        if mac is None:
            reason = unanswered(next_hop, f"{self._label(machine)}:{dev}")
            self.fail(machine, packet, "unreachable: host", reason)
            return
        packet.src_mac, packet.dst_mac = self.world.mac((machine.name, dev)), mac
        self.transmit(machine, dev, packet)

    def _passes(self, machine: Machine, packet: Packet, route: Route, *, forwarded: bool) -> bool:
        """Whether the device of the route takes it, whole or in pieces; else its sender is told what would fit."""
        dev, mtu = machine.device(route), machine.mtu(route, forwarded or sizes.heeds_route(packet))
        if not sizes.stuck(packet, mtu, forwarded=forwarded):
            return True
        if forwarded:
            self.because(CauseKind.ROUTE, machine, route_text(route), f"to {dev}, which takes {mtu} bytes")
        reason = f"{self._label(machine)}:{dev} takes {mtu} bytes, and the packet has {sizes.longest(packet)}"
        self.fail(machine, packet, sizes.told(packet, mtu), reason)
        return False

    def _neighbor(self, machine: Machine, dev: str, address: IPAddress) -> str | None:
        """The MAC of a next hop: a permanent entry of the plan, else whoever answers ARP on the segment."""
        if machine.links[dev].noarp:
            return self.world.mac((machine.name, dev))  # arp_constructor, net/ipv4/arp.c
        entry = machine.neighbors.get((dev, address))
        if entry is not None:
            self.because(CauseKind.NEIGHBOR, machine, render.neighbor(entry), "")
            return entry.mac
        mac = self.world.answer((machine.name, dev), address)
        if mac is None:
            return None
        shown = mac if not mac.startswith("?") else "(the kernel's choice)"
        self.because(CauseKind.NEIGHBOR, machine, f"{address} dev {dev} lladdr {shown}", "")
        return mac

    def _deliver(self, machine: Machine, packet: Packet, dev: str) -> None:
        sizes.put_together(packet)
        if not self.hook(machine, packet, At("INPUT", iif=dev)):
            return
        if packet.inside is not None:
            encapsulation.taken_out(self, machine, packet, packet.inside)
            return
        if balancer.taken(self, machine, packet):
            return
        shown = endpoint(packet.headers.dst, packet.headers.dport)
        self.because(CauseKind.LOCAL, machine, f"local {packet.headers.dst} dev {dev}", f"delivered to {shown}")
        self.way.end = (machine.name, packet)

    # --- links ----------------------------------------------------------------------------------------------------

    def transmit(self, machine: Machine, dev: str, packet: Packet) -> None:
        link = machine.links[dev]
        machine.subnets.leaves(dev, packet)
        if not at_hook(self, machine, link, "egress", packet):
            return
        self.seen(machine, link, packet, Direction.OUT)
        if link.kind == "bridge":
            self._switch(machine, link, None, packet)
        elif link.kind == "vxlan":
            encapsulation.into_vxlan(self, machine, link, packet)
        elif (peer := self.world.peer((machine.name, dev))) is not None:
            other = self.world.machines[peer[0]]
            if self._swallowed(other, other.links[peer[1]], packet):
                return
            wire = f"{self._label(machine)}:{dev} ↔ {self._label(other)}:{peer[1]}"
            self.because(CauseKind.LINK, machine, wire, f"to {self._label(other)}:{peer[1]}")
            self.receive(other, other.links[peer[1]], packet)
        else:
            self.way.stop(f"{self._label(machine)}:{dev} leads nowhere")

    def _swallowed(self, machine: Machine, link: Link, packet: Packet) -> bool:
        """A link takes nothing much longer than its MTU, and no IP is there to say so."""
        length = sizes.longest(packet)
        if length <= link.mtu + sizes.VLAN_TAG:
            return False
        self.way.stop(f"{self._label(machine)}:{link.name} takes {link.mtu} bytes, and drops {length} without a word")
        return True

    def receive(self, machine: Machine, link: Link, packet: Packet) -> None:
        packet.enter()
        self.seen(machine, link, packet, Direction.IN)
        if len(self.way.hops) > MAX_HOPS:
            self.way.stop("the packet goes in circles")
        elif not at_hook(self, machine, link, "ingress", packet):
            return
        elif link.master:
            self._bridge(machine, link, packet)
        elif link.ipip is None and not self._is_for(machine, link, packet):
            self.way.stop(f"{self._label(machine)}:{link.name} is not {packet.dst_mac.strip('?')}")
        elif packet.inside is not None and (taken := tunnels.taken_off(machine, link, packet)):
            self.because(CauseKind.TUNNEL, machine, taken.text, f"IPIP taken off by {taken.link.name}")
            self.receive(machine, taken.link, packet.inside)
        else:
            self._input(machine, link.name, packet)

    def _is_for(self, machine: Machine, link: Link, packet: Packet) -> bool:
        return packet.dst_mac == self.world.mac((machine.name, link.name)) or machine.subnets.take(link.name, packet)

    def _bridge(self, machine: Machine, port: Link, packet: Packet) -> None:
        """A frame enters a bridge by a port: up the stack if it is for the bridge, else to another port."""
        bridge = machine.links[port.master]
        filtered = machine.filters_bridged(packet.headers.dst.version)
        before = packet.headers.dst
        if filtered and not self.hook(machine, packet, At("PREROUTING", iif=bridge.name)):
            return
        if packet.headers.dst != before and not self._redirect(machine, bridge, packet):
            return
        if packet.dst_mac == self.world.mac((machine.name, bridge.name)):
            self.seen(machine, bridge, packet, Direction.IN)
            sizes.forget(packet)
            self._input(machine, bridge.name, packet, prerouted=filtered)
        else:
            self._switch(machine, bridge, port, packet)

    def _redirect(self, machine: Machine, bridge: Link, packet: Packet) -> bool:
        """NAT changed the destination of a bridged frame: it is bridged on if the new one is behind the same bridge,
        else given to the stack."""
        headers = packet.headers
        route = machine.route(Query(headers.dst, headers.src, iif=bridge.name, mark=packet.mark))
        if route is None:
            self.way.stop(f"{self._label(machine)} has no route to {headers.dst}")
            return False
        if route.type == "local" or machine.device(route) != bridge.name:
            packet.dst_mac = self.world.mac((machine.name, bridge.name))
            return True
        self.because(CauseKind.ROUTE, machine, route_text(route), f"stays on {bridge.name}: bridged, not routed")
        mac = self._neighbor(machine, bridge.name, route.via or headers.dst)
        if mac is None:
            self.fail(machine, packet, "unreachable: host", unanswered(headers.dst, bridge.name))
            return False
        packet.dst_mac = mac
        self.seen(machine, bridge, packet, Direction.OUT, UNCONFIRMED)
        return True

    def _switch(self, machine: Machine, bridge: Link, came_by: Link | None, packet: Packet) -> None:
        port = self.world.port_to((machine.name, bridge.name), packet.dst_mac)
        if port is None:
            self.way.stop(f"{self._label(machine)}: no port of {bridge.name} leads to {packet.dst_mac.strip('?')}")
            return
        if port is came_by and not port.hairpin:
            self.way.stop(f"{self._label(machine)}: {port.name} is no hairpin port: not sent back where it came from")
            return
        if came_by is not None and machine.filters_bridged(packet.headers.dst.version):
            forward = At("FORWARD", iif=bridge.name, oif=bridge.name)
            leave = At("POSTROUTING", oif=bridge.name, next_hop=packet.headers.dst)
            if not self.hook(machine, packet, forward) or not self.hook(machine, packet, leave):
                return
            if packet.largest:
                sizes.cut(packet, port.mtu)  # br_nf_dev_queue_xmit
        if self._swallowed(machine, port, packet):
            return
        mac = packet.dst_mac if not packet.dst_mac.startswith("?") else "(the kernel's choice)"
        text = f"{mac} dev {port.name} master {bridge.name}"
        self.because(CauseKind.BRIDGE, machine, text, f"switched to {port.name}")
        self.transmit(machine, port.name, packet)

    def redirect_to_neighbor(self, machine: Machine, dev: str, packet: Packet, iif: str = "") -> None:
        """A program at tc has routed the packet (bpf_redirect_neigh), by `dev` if it says so: it meets no hook on the
        way out."""
        dst = packet.headers.dst
        route = machine.route(Query(dst, packet.headers.src, iif=iif))
        if route is None or (dev and machine.device(route) != dev):
            self.way.stop(f"{self._label(machine)} has no route to {dst}{f' by {dev}' if dev else ''}")
            return
        dev = machine.device(route)
        self.because(CauseKind.ROUTE, machine, route_text(route), f"to {dev}")
        mac = self._neighbor(machine, dev, route.via or dst)
        if mac is None:
            self.way.stop(unanswered(route.via or dst, f"{self._label(machine)}:{dev}"))
            return
        packet.src_mac, packet.dst_mac = self.world.mac((machine.name, dev)), mac
        self.transmit(machine, dev, packet)

    # --- the rest -------------------------------------------------------------------------------------------------

    def hook(self, machine: Machine, packet: Packet, at: At) -> bool:
        """True if the packet goes on."""
        if at.hook == "PREROUTING" and packet.headers.dst.version in machine.tracks:
            sizes.put_together(packet)
        outcome, causes = self.firewall.pass_through(machine, packet, at)
        for cause in causes:
            self.way.because(cause)
        if outcome is None or outcome.verdict == "ACCEPT":
            return True
        rules = [cause.text for cause in causes if cause.kind is CauseKind.RULE]
        rule = rules[-1] if rules else f"the policy of {at.hook}"
        if outcome.verdict == "REJECT":
            self._reject(machine, packet, outcome, f"{self._label(machine)}: {rule}")
        else:
            self.way.stop(f"{self._label(machine)}: {rule}")
        return False

    def _reject(self, machine: Machine, packet: Packet, outcome: Outcome, reason: str) -> None:
        if outcome.reject_with == "tcp-reset":
            self.way.error = (machine.name, refusals.refusal(packet))
        else:
            self.fail(machine, packet, refusals.NOTES.get(outcome.reject_with, "unreachable: port"), reason)
        self.way.stop(reason, Verdict.REJECTED)

    def fail(self, machine: Machine, packet: Packet, note: str, reason: str) -> None:
        """Drops the packet and tells its sender by ICMP; never about an ICMP error or a tunnel's packet."""
        self.way.stop(reason)
        if packet.about is not None or packet.inside is not None:
            return
        error = refusals.error_about(machine, packet, note)
        if error is None:
            self.way.stop(f"{reason}, and none back to {packet.headers.src}: it tells nobody")
        else:
            self.way.error = (machine.name, error)
            # What has not left its sender is no packet yet, and the error none on the way.
            self.way.stop(reason, Verdict.REJECTED if self.way.hops else Verdict.DROPPED)

    def seen(self, machine: Machine, link: Link, packet: Packet, direction: Direction, optional: str = "") -> None:
        point = CapturePoint(machine.name, link.name, link.role, link.owner, machine.plan.owner)
        self.way.seen(hop_of(packet, point, direction, optional))

    def because(self, kind: CauseKind, machine: Machine, text: str, effect: str) -> None:
        self.way.because(Cause(kind=kind, netns=machine.name, text=text, effect=effect))

    def _label(self, machine: Machine) -> str:
        return machine.plan.owner


def route_text(route: Route) -> str:
    """As `ip route` prints it."""
    return render.route(route)
