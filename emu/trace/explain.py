"""An observed path with its causes, asked from the kernel: for each step between two hops, what the rules, conntrack,
the routes, the neighbor table and the forwarding tables say to exactly this packet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Protocol

from emu.addressing import EVERYTHING
from emu.plan import expectations
from emu.plan.model import IPAddress, IPNetwork, NetnsKind, Plan, Role
from emu.trace.addresses import address, unanswered
from emu.trace.balancer import became
from emu.trace.causes import NO_WAY, caused, effect_of, ended, endpoint_of, in_order, sent_on, some, telling, up_to
from emu.trace.changed import endpoint
from emu.trace.conntrack import ICMP, Tracked, tuple_of
from emu.trace.decisions import REFUSED, Decision
from emu.trace.marks import mark_of
from emu.trace.model import Cause, CauseKind, Direction, Encapsulation, Flow, Headers, Hop, Leg, Path, Verdict
from emu.trace.sockets import NO_BACKEND, to_backend

_VIA = re.compile(r"\bvia (?:inet6? )?(\S+)")
_DEV = re.compile(r"\bdev (\S+)")


class Lookup(Protocol):
    """What a kernel answers; "", () or None where there is nothing. `rules`: those the packet matched in that netns,
    as iptables text with `-t table`; `headers` are as the packet came into the netns."""

    def route(  # noqa: PLR0917
        self,
        netns: str,
        src: IPAddress | None,
        dst: IPAddress,
        iif: str,
        mark: int,
        proto: str,
        sport: int,
        dport: int,
    ) -> str: ...
    def neighbor(self, netns: str, dev: str, ip: IPAddress) -> str: ...
    def fdb(self, netns: str, dev: str, mac: str) -> str: ...
    def bridge_fdb(self, netns: str, bridge: str, mac: str) -> str: ...
    def tunnel(self, netns: str, dev: str) -> str: ...
    def program(self, netns: str, dev: str, where: str) -> str: ...
    def conntrack(self, netns: str, headers: Headers) -> Tracked | None: ...
    def rules(self, netns: str, headers: Headers) -> tuple[str, ...]: ...
    def decisions(self, netns: str) -> tuple[Decision, ...]: ...
    def chosen(self, flow: Flow) -> tuple[Decision, ...]: ...
    def balanced(self, netns: str, headers: Headers, mark: int) -> str: ...


def explain(path: Path, plan: Plan, lookup: Lookup, flow: Flow | None = None) -> Path:
    """The path with the causes of every step. A step the kernel says nothing about has none. With the flow, also why
    a Pod's request has not left it."""
    asking = _Asking(plan, lookup)
    chosen = lookup.chosen(flow) if flow else ()
    if flow and not path.forward.hops and plan.netns[flow.netns].kind is NetnsKind.POD:
        path = Path(forward=asking.unsent(path.forward, flow, chosen))
    forward = asking.leg(path.forward, reply=False)
    if chosen:
        forward = replace(forward, origin=(*(each.cause for each in chosen), *forward.origin))
    return Path(forward=forward, reply=asking.leg(path.reply, reply=True) if path.reply else None)


class _Asking:
    def __init__(self, plan: Plan, lookup: Lookup) -> None:
        self.plan, self.lookup = plan, lookup

    def leg(self, leg: Leg, reply: bool) -> Leg:
        if not leg.hops:
            return leg
        hops: list[Hop] = []
        waiting: tuple[Cause, ...] = ()
        for hop, after in zip(leg.hops, (*leg.hops[1:], None), strict=True):
            rules = (*waiting, *(self._rules(hop.point.netns, _going(hop)) if _comes_in(hop) else ()))
            rules, waiting = up_to(rules) if _goes_up(hop, after) else (rules, ())
            rules = tuple(telling(cause, hop, after) for cause in rules)
            hops.append(replace(hop, causes=self._behind(hop, after, rules, reply)))
        told = replace(leg, hops=tuple(hops), origin=tuple(self._origin(leg.hops[0])))
        return ended(told)

    def _behind(self, hop: Hop, after: Hop | None, rules: Sequence[Cause], reply: bool) -> tuple[Cause, ...]:
        """All that led on from here. What IPVS has sent on begins anew there, with OUTPUT."""
        if after is None or not (balanced := tuple(self._balanced(hop, after, rules))):
            return in_order(rules, tuple(self._step(hop, after, rules, reply)))
        sent = replace(hop.inner, dst=after.inner.dst, dport=after.inner.dport)
        known = {cause.text for cause in rules}
        new = (each for each in self._rules(hop.point.netns, sent) if each.text not in known)
        further = tuple(telling(each, hop, after) for each in new)
        on = tuple(self._routed(hop.point.netns, "", after.point.ifname, after.inner, after.inner))
        return (*rules, *balanced, *in_order(further, on))

    def _balanced(self, hop: Hop, after: Hop, rules: Sequence[Cause]) -> Iterator[Cause]:
        """Through a virtual service of this netns: the server it was given."""
        netns, turned = hop.point.netns, (hop.direction, after.direction) == (Direction.IN, Direction.OUT)
        if turned and after.point.netns == netns and self.plan.netns[netns].virtual_services:
            mark = mark_of((cause.text for cause in rules), 0)
            text = self.lookup.balanced(netns, hop.inner, mark)
            yield from some(CauseKind.IPVS, netns, text, became(endpoint(after.inner.dst, after.inner.dport)))

    def unsent(self, leg: Leg, flow: Flow, chosen: Sequence[Decision] = ()) -> Leg:
        """Seen nowhere: a program has refused it, or no route, or nobody whose MAC could be asked for."""
        netns, where = flow.netns, self.plan.netns[flow.netns].owner
        if any(each.cause.effect == REFUSED for each in chosen):
            return replace(leg, verdict=Verdict.REJECTED, reason=NO_BACKEND)
        for each in chosen:
            flow = to_backend(flow, each)
        text = self.lookup.route(netns, flow.src, flow.dst, "", 0, flow.proto, flow.sport, flow.dport)
        dev, via = _DEV.search(text), _VIA.search(text)
        if not dev:
            return replace(leg, reason=f"{where} has no route to {flow.dst}")
        next_hop = address(via[1], flow.dst) if via else flow.dst
        neighbor = self.lookup.neighbor(netns, dev[1], next_hop)
        told = (*some(CauseKind.ROUTE, netns, text, f"to {dev[1]}"), *some(CauseKind.NEIGHBOR, netns, neighbor, ""))
        if "lladdr" in neighbor or text.startswith("local"):
            return replace(leg, origin=told)
        return replace(leg, origin=told, reason=unanswered(next_hop, f"{where}:{dev[1]}"))

    def _origin(self, first: Hop) -> Iterator[Cause]:
        """Before the first hop: what the sender's own netns did to the packet, from its socket on."""
        if first.direction is Direction.IN:  # it was sent where nobody watched
            return
        netns, seen = first.point.netns, first.inner
        entry = self.lookup.conntrack(netns, seen)
        made = entry.as_made(seen) if entry else seen
        yield from self._rules(netns, made)
        if entry and entry.is_answer(seen) and endpoint_of(made) != endpoint_of(seen):
            yield caused(CauseKind.CONNTRACK, netns, entry.text, f"source back to {endpoint_of(seen)}")
        decided = [each for each in self._decisions(netns, seen) if not each.on_the_way_in]
        dev = decided[0].dev if decided else first.point.ifname
        yield from self._routed(netns, "", dev, seen, _going(first) if not decided else seen)
        yield from (each.cause for each in decided)

    def _decisions(self, netns: str, *seen: Headers) -> list[Decision]:
        """Of programs about packets with one of these headers, each once."""
        wanted = {tuple_of(each) for each in seen}
        wanted |= {replace(each, sport=0, dport=0) for each in wanted}  # pieces of it
        found = (each for each in self.lookup.decisions(netns) if each.flow in wanted)
        return list({each.cause.text: each for each in found}.values())

    def _decided(self, hop: Hop, after: Hop | None) -> Iterator[Decision]:
        """Where the packet came in, and where it then went out of the same netns."""
        netns = hop.point.netns
        leaving = after.point.ifname if after and (after.point.netns, after.direction) == (netns, Direction.OUT) else ""
        for each in self._decisions(netns, hop.inner, *((after.inner,) if after else ())):
            here = each.on_the_way_in and hop.direction is Direction.IN and each.dev == hop.point.ifname
            if here or (not each.on_the_way_in and leaving and each.dev == leaving):
                yield each

    def _step(self, hop: Hop, after: Hop | None, rules: Sequence[Cause], reply: bool) -> Iterator[Cause]:
        decided = tuple(self._decided(hop, after))
        yield from (each.cause for each in decided if each.on_the_way_in)
        if not any(each.past_the_stack for each in decided):
            yield from self._by_the_stack(hop, after, rules, reply)
        yield from (each.cause for each in decided if not each.on_the_way_in)

    def _by_the_stack(self, hop: Hop, after: Hop | None, rules: Sequence[Cause], reply: bool) -> Iterator[Cause]:
        netns = hop.point.netns
        if after is None:
            yield from self._end(hop, rules)
        elif after.point.netns != netns and not self._carries(hop, after):
            if self._joined(hop, after):
                yield caused(CauseKind.LINK, netns, f"{hop.point} ↔ {after.point}", f"to {after.point}")
        else:
            if not any(cause.effect.startswith(("DNAT", "redirected", "source")) for cause in rules):
                yield from self._translated(hop, after, reply)
            yield from self._within(hop, after, self._mark(hop, rules))

    def _mark(self, hop: Hop, rules: Sequence[Cause]) -> int:
        """What PREROUTING has marked the packet with: rules of routing look at it."""
        lines = [cause.text for cause in up_to(rules)[0]]
        if not any("MARK" in line for line in lines):
            return 0
        entry = self.lookup.conntrack(hop.point.netns, hop.inner)
        return mark_of(lines, entry.mark if entry else 0)

    def _joined(self, hop: Hop, after: Hop) -> bool:
        """The next hop is the other end of this hop's link, not merely where the packet was seen next."""
        plan = self.plan.netns.get(hop.point.netns)
        link = plan.link(hop.point.ifname) if plan else None
        return link is not None and link.peer == (after.point.netns, after.point.ifname)

    def _carries(self, hop: Hop, after: Hop) -> bool:
        """One of the two is a tunnel whose socket is where the other is."""
        ends = ((hop, after), (after, hop))
        links = ((plan.link(a.point.ifname), b) for a, b in ends if (plan := self.plan.netns.get(a.point.netns)))
        return any(link and link.vxlan and link.vxlan.socket == other.point.netns for link, other in links)

    def _end(self, hop: Hop, rules: Sequence[Cause]) -> Iterator[Cause]:
        if hop.direction is Direction.OUT:
            return
        netns = hop.point.netns
        if hop.encapsulation:  # what is inside was not looked at
            yield from self._in_tunnel(hop, hop.encapsulation.outer)
            return
        entry = self.lookup.conntrack(netns, hop.inner)
        going = sent_on(rules, hop.inner) or (entry.sent_on(hop.inner) if entry else hop.inner)
        text = self._route(netns, self._stack(hop), going.src, going, self._mark(hop, rules))
        if text.startswith("local"):
            shown = endpoint(going.dst, going.dport)
            yield caused(CauseKind.LOCAL, netns, text, f"delivered to {shown}")
            return
        if not text and self.plan.netns[netns].kind is not NetnsKind.FABRIC:
            yield caused(CauseKind.ROUTE, netns, f"no route to {going.dst}", NO_WAY)
        yield from some(CauseKind.ROUTE, netns, text, "")
        if dev := _DEV.search(text):
            yield from self._next_hop(netns, dev[1], text, going)

    def _in_tunnel(self, hop: Hop, outer: Headers) -> Iterator[Cause]:
        """A tunnel's packet that ended as it came; a route to this netns itself does not mean that it was taken off."""
        netns = hop.point.netns
        rules = tuple(self._rules(netns, outer)) if hop.point.role is Role.UPLINK else ()
        text = self._route(netns, self._stack(hop), outer.src, outer)
        yield from in_order(rules, tuple(some(CauseKind.ROUTE, netns, text, "")))

    def _translated(self, hop: Hop, after: Hop, reply: bool) -> Iterator[Cause]:
        a, b = hop.inner, after.inner
        if (a.src, a.sport, a.dst, a.dport) == (b.src, b.sport, b.dst, b.dport):
            return
        echo = b.proto in ICMP  # its identifier is of neither end
        source = a.src != b.src or (not echo and a.sport != b.sport)
        shown = endpoint(b.src, 0 if echo else b.sport) if source else endpoint(b.dst, b.dport)
        effect = f"{'source' if source else 'destination'} {'back to' if reply else 'becomes'} {shown}"
        if entry := self.lookup.conntrack(hop.point.netns, a):
            yield caused(CauseKind.CONNTRACK, hop.point.netns, entry.text, effect)

    def _within(self, hop: Hop, after: Hop, mark: int) -> Iterator[Cause]:
        """One netns, or a tunnel's and its socket's: taken out of the tunnel, put into it, switched, or routed."""
        netns, dev = hop.point.netns, after.point.ifname
        outer = after.encapsulation.outer if after.encapsulation else None
        if after.direction is Direction.IN:
            if hop.encapsulation and not outer:
                yield from self._taken_off(netns, hop.point.ifname, dev, hop.encapsulation)
            elif _goes_up(hop, after):
                text = self.lookup.bridge_fdb(netns, dev, hop.dst_mac)
                yield from some(CauseKind.BRIDGE, netns, text, f"for {dev} itself")
        elif hop.point.role is Role.TUNNEL and after.encapsulation and outer:
            yield from self._put_on(hop, after.encapsulation)
            carrier = after.point.netns
            rules = tuple(self._rules(carrier, outer))
            yield from in_order(rules, tuple(self._routed(carrier, "", dev, outer, outer)))
        elif bridge := self._bridge(after):
            if hop.point.ifname != bridge and hop.inner.dst != after.inner.dst:
                yield from self._routed(netns, bridge, bridge, hop.inner, after.inner)
            mac = after.encapsulation.outer_dst_mac if after.encapsulation else after.dst_mac
            text = self.lookup.bridge_fdb(netns, bridge, mac)
            yield from some(CauseKind.BRIDGE, netns, text, f"switched to {dev}")
        else:
            yield from self._routed(netns, self._stack(hop), dev, _going(hop), _going(after), mark)

    def _put_on(self, hop: Hop, around: Encapsulation) -> Iterator[Cause]:
        netns, dev, effect = hop.point.netns, hop.point.ifname, f"{around.kind.upper()} to {around.outer.dst}"
        if around.kind == "ipip":
            text = self.lookup.program(netns, dev, "egress") or self.lookup.tunnel(netns, dev)
            yield from some(CauseKind.TUNNEL, netns, text, effect)
        else:
            yield from some(CauseKind.FDB, netns, self.lookup.fdb(netns, dev, hop.dst_mac), effect)

    def _taken_off(self, netns: str, uplink: str, dev: str, around: Encapsulation) -> Iterator[Cause]:
        """By a program at the uplink, before IP; or by the socket or the protocol of the tunnel, behind INPUT."""
        effect = f"{around.kind.upper()} taken off by {dev}"
        program = self.lookup.program(netns, uplink, "ingress") if around.kind == "ipip" else ""
        if program:
            yield caused(CauseKind.TUNNEL, netns, program, effect)
            return
        yield from self._rules(netns, around.outer)
        text = self._route(netns, uplink, around.outer.src, around.outer)
        yield from some(CauseKind.LOCAL, netns, text, effect)

    def _routed(  # noqa: PLR0917
        self, netns: str, iif: str, dev: str, came: Headers, going: Headers, mark: int = 0
    ) -> Iterator[Cause]:
        """The route to where the packet goes now, for the source it came with, and the next hop's neighbor entry."""
        text = self._route(netns, iif, came.src, going, mark)
        yield from some(CauseKind.ROUTE, netns, text, f"to {dev}{self._instead(netns, text, going.dst)}")
        yield from self._next_hop(netns, dev, text, going)

    def _instead(self, netns: str, route: str, dst: IPAddress) -> str:
        """What the kernel has refused, where this route is the lesser one that is left."""
        plan, first = self.plan.netns.get(netns), route.partition(" ")[0]
        taken = EVERYTHING[dst.version] if first == "default" else _network(first)
        return expectations.instead(plan, taken, dst) if plan and taken else ""

    def _next_hop(self, netns: str, dev: str, route: str, going: Headers) -> Iterator[Cause]:
        via = _VIA.search(route)
        next_hop = address(via[1], going.dst) if via else going.dst
        yield from some(CauseKind.NEIGHBOR, netns, self.lookup.neighbor(netns, dev, next_hop), "")

    def _route(self, netns: str, iif: str, src: IPAddress, to: Headers, mark: int = 0) -> str:
        asked = (to.dst, iif, mark, to.proto, to.sport, to.dport)
        # An answer whose source has been translated back was routed with the source its socket gave it.
        return self.lookup.route(netns, src, *asked) or ("" if iif else self.lookup.route(netns, None, *asked))

    def _stack(self, hop: Hop) -> str:
        """The device IP thinks the packet came by: for a bridge's port, the bridge."""
        return self._bridge(hop) or hop.point.ifname

    def _bridge(self, hop: Hop) -> str:
        plan = self.plan.netns.get(hop.point.netns)
        link = plan.link(hop.point.ifname) if plan else None
        return link.master if link else ""

    def _rules(self, netns: str, headers: Headers) -> Iterator[Cause]:
        for line in self.lookup.rules(netns, headers):
            yield caused(CauseKind.RULE, netns, line, effect_of(line))


def _goes_up(hop: Hop, after: Hop | None) -> bool:
    """From a bridge's port to the bridge itself: the port has PREROUTING alone, the rest comes behind the bridge."""
    if after is None or (after.point.netns, after.direction) != (hop.point.netns, Direction.IN):
        return False
    return hop.direction is Direction.IN and after.point.role is Role.BRIDGE


def _comes_in(hop: Hop) -> bool:
    """Where a packet enters a netns' IP. On a bridge it has been filtered at the port already; so it is on a fabric's
    switches, which do not look into tunnels, if they filter."""
    entrances = (Role.HOST_VETH, Role.POD_ETH, Role.TUNNEL, Role.FABRIC)
    plain = hop.point.role in entrances or (hop.point.role is Role.UPLINK and not hop.encapsulation)
    return plain and hop.direction is Direction.IN


def _going(hop: Hop) -> Headers:
    return hop.encapsulation.outer if hop.encapsulation else hop.inner


def _network(text: str) -> IPNetwork | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
