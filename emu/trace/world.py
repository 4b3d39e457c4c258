"""A plan as the simulator asks it: who is on a link, who owns an address, where a route leads.

Adds what the kernel makes by itself: a local and a connected route for every address, the standard routing rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network

from emu.addressing import link_local
from emu.netfilter.model import IpSet, Table
from emu.plan.ebpf import Value
from emu.plan.model import (
    Address,
    FdbEntry,
    IPAddress,
    IPInterface,
    IpipBy,
    Link,
    Neighbor,
    NetnsPlan,
    Plan,
    PolicyRule,
    Role,
    Route,
    TcProgram,
)
from emu.trace.subnets import Subnets

LOCAL, MAIN, DEFAULT = 255, 254, 253
LOOPBACK = Link(name="lo", kind="loopback", role=Role.LOOPBACK, owner="", mtu=65536)
_STANDARD_RULES = (
    PolicyRule(priority=0, table=LOCAL),
    PolicyRule(priority=32766, table=MAIN),
    PolicyRule(priority=32767, table=DEFAULT),
)

End = tuple[str, str]  # (netns, ifname)


@dataclass(frozen=True, slots=True)
class Query:
    """What a route is looked up for; `iif` "" for a packet made here."""

    dst: IPAddress
    src: IPAddress | None = None
    iif: str = ""
    mark: int = 0


class Machine:
    """One network namespace of the plan."""

    def __init__(self, plan: NetnsPlan) -> None:
        self.plan = plan
        self.name = plan.name

    @cached_property
    def links(self) -> dict[str, Link]:
        return {"lo": LOOPBACK, **{link.name: link for link in self.plan.links}}

    @cached_property
    def local(self) -> frozenset[IPAddress]:
        own = (address.address.ip for address in self.plan.addresses)
        return frozenset((*own, *(address for _, address in self._link_local)))

    @cached_property
    def _link_local(self) -> frozenset[tuple[str, IPAddress]]:
        """What IPv6 makes of the links' MACs. Several may have the same."""
        if self.sysctls.get("net.ipv6.conf.all.disable_ipv6") == "1":
            return frozenset()
        return frozenset((link.name, link_local(link.mac)) for link in self.plan.links if link.mac and not link.master)

    def bears(self, dev: str, address: IPAddress) -> bool:
        """Whether it is this device that has the address."""
        planned = any(each.dev == dev and each.address.ip == address for each in self.plan.addresses)
        return planned or (dev, address) in self._link_local

    def is_local(self, address: IPAddress) -> bool:
        return address in self.local or address.is_loopback

    @cached_property
    def sysctls(self) -> dict[str, str]:
        return {sysctl.key: sysctl.value for sysctl in self.plan.sysctls}

    def answers_for(self, dev: str, address: IPAddress) -> bool:
        """Proxy ARP: for an address that is not its own, but to which it would forward by another device."""
        if address.version != 4 or not self._proxies(dev) or not self.forwards(4):
            return False
        route = self.route(Query(address, iif=dev))
        return route is not None and route.type == "unicast" and self.device(route) != dev

    def _proxies(self, dev: str) -> bool:
        keys = (f"net.ipv4.conf.{name}.proxy_arp" for name in ("all", dev.replace(".", "/")))
        return any(self.sysctls.get(key) == "1" for key in keys)

    def goes_back(self, src: IPAddress, iif: str, mark: int) -> bool:
        """Whether an answer to this source would leave by the device the packet came by (xt_rpfilter, strict)."""
        route = self.route(Query(src, mark=mark))
        return route is not None and route.type in ("unicast", "local") and self.device(route) == iif

    @cached_property
    def subnets(self) -> Subnets:
        return Subnets(self.plan)

    @cached_property
    def sets(self) -> dict[str, IpSet]:
        return {each.name: each for each in self.plan.sets}

    @cached_property
    def _programs(self) -> dict[tuple[str, str], TcProgram]:
        return {(each.dev, each.where): each for each in self.plan.programs if isinstance(each, TcProgram)}

    def program(self, dev: str, where: str) -> TcProgram | None:
        """At a link's clsact hook: `where` is ingress or egress."""
        return self._programs.get((dev, where))

    @cached_property
    def maps(self) -> dict[str, dict[tuple[Value, ...], tuple[Value, ...]]]:
        """Of the programs, by name."""
        found: dict[str, dict[tuple[Value, ...], tuple[Value, ...]]] = {}
        for entry in self.plan.maps:
            found.setdefault(entry.map, {})[entry.key] = entry.value
        return found

    def forwards(self, version: int) -> bool:
        key = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
        return self.sysctls.get(key) == "1"

    @cached_property
    def tracks(self) -> frozenset[int]:
        """The families in which rules want conntrack, which puts fragments together for them."""
        return frozenset(table.family for table in self.plan.tables if table.name == "nat" or _by_state(table))

    def filters_bridged(self, version: int) -> bool:
        """br_netfilter: bridged IP packets pass iptables."""
        return self.sysctls.get(f"net.bridge.bridge-nf-call-ip{'6' if version == 6 else ''}tables") == "1"

    @cached_property
    def neighbors(self) -> dict[tuple[str, IPAddress], Neighbor]:
        return {(neighbor.dev, neighbor.address): neighbor for neighbor in self.plan.neighbors}

    @cached_property
    def fdb(self) -> dict[tuple[str, str], FdbEntry]:
        return {(entry.dev, entry.mac): entry for entry in self.plan.fdb}

    def ports(self, bridge: str) -> Iterator[Link]:
        return (link for link in self.plan.links if link.master == bridge)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        made = [route for address in self.plan.addresses for route in _made_for(address)]
        loopback = Route(dst=ip_network("127.0.0.0/8"), dev="lo", table=LOCAL, type="local", protocol="kernel")
        return (loopback, *made, *self.plan.routes, *(each.route for each in self.plan.expected))

    def route(self, query: Query) -> Route | None:
        """The kernel's choice: routing rules by priority, in each table the longest prefix, then the lowest metric."""
        for rule in sorted((*_STANDARD_RULES, *self.plan.rules), key=lambda rule: rule.priority):
            if _applies(rule, query) and (route := self._best(rule.table, query.dst)):
                return route
        return None

    def _best(self, table: int, dst: IPAddress) -> Route | None:
        fitting = (r for r in self.routes if r.table == table and r.dst.version == dst.version and dst in r.dst)
        usable = [r for r in fitting if r.type != "unicast" or self._is_up(r.dev or self._device_of(r))]
        return min(usable, key=lambda r: (-r.dst.prefixlen, r.metric), default=None)

    def _is_up(self, dev: str) -> bool:
        return dev in self.links and self.links[dev].up

    def _is_born(self, dev: str) -> bool:
        """Whether a link came with the namespace: older than all that were made there."""
        link = self.links.get(dev)
        return link is not None and link.ipip is not None and link.ipip.by is IpipBy.MODULE

    def _device_of(self, route: Route) -> str:
        """The device of a route that names only its gateway: the one whose subnet holds the gateway."""
        connected = (r for r in self.routes if route.via and r.scope == "link" and route.via in r.dst)
        nearest = max(connected, key=lambda r: r.dst.prefixlen, default=None)
        return nearest.dev if nearest else ""

    def device(self, route: Route) -> str:
        return route.dev or self._device_of(route)

    def mtu(self, route: Route, by_route: bool = False) -> int:
        """What the device takes; to an address of one's own that is lo. `by_route`: or less, if the route says so."""
        own = self.links["lo" if route.type == "local" else self.device(route)].mtu
        return min(route.mtu, own) if by_route and route.mtu else own

    def source(self, route: Route, dst: IPAddress) -> IPAddress | None:
        """The address the kernel gives a packet that leaves by this route: the route's `src`, else
        one of the device: the first whose subnet holds the next hop, else the first, else any other's
        (inet_select_addr)."""
        if route.src or route.type == "local":
            return route.src or dst
        return self.address_on(self.device(route), dst, route.via)

    def own_on(self, dev: str, version: int) -> IPAddress | None:
        """What REDIRECT takes: the first of the device's own."""
        return next(
            (a.address.ip for a in self.plan.addresses if a.dev == dev and a.address.version == version), None
        )  # fmt: skip

    def address_on(self, dev: str, dst: IPAddress, via: IPAddress | None = None) -> IPAddress | None:
        """Also what MASQUERADE takes. IPv4 looks at the next hop, and where the device has no address takes that of the
        oldest link; IPv6 at the destination: of one device's addresses, or where it has none of all, that which is most
        like it (ipv6_dev_get_saddr)."""
        fitting = [a for a in self.plan.addresses if a.address.version == dst.version]
        own = [a.address for a in fitting if a.dev == dev]
        if dst.version == 6:
            likest = max(own or [a.address for a in fitting], key=lambda each: _alike(each, dst), default=None)
            return likest.ip if likest else None
        near = [address for address in own if (via or dst) in address.network]
        rest = [a.address for a in sorted(fitting, key=lambda a: not self._is_born(a.dev)) if a.dev != dev]
        return next((address.ip for address in (*near, *own, *rest)), None)


def _by_state(table: Table) -> bool:
    matches = (match for chain in table.chains for rule in chain.rules for match in rule.matches)
    return any(match.module in ("conntrack", "state") for match in matches)


def _alike(own: IPInterface, dst: IPAddress) -> int:
    """How many leading bits they have in common, within the address's own network (RFC 6724, rule 8)."""
    differing = (int(own.ip) ^ int(dst)).bit_length()
    return min(own.max_prefixlen - differing, own.network.prefixlen)


def _made_for(planned: Address) -> Iterator[Route]:
    dev, address = planned.dev, planned.address
    host = ip_network(address.ip)
    yield Route(dst=host, dev=dev, src=address.ip, table=LOCAL, type="local", scope="host", protocol="kernel")
    if planned.prefix_route and planned.connected and address.network.prefixlen < address.max_prefixlen:
        yield Route(dst=address.network, dev=dev, src=address.ip, scope="link", protocol="kernel")


def _applies(rule: PolicyRule, query: Query) -> bool:
    return (
        (rule.src is None or (query.src is not None and query.src in rule.src))
        and (rule.dst is None or query.dst in rule.dst)
        and rule.iif in ("", query.iif or "lo")
        and (query.mark & rule.fwmask) == rule.fwmark
    )


class World:
    """All of them, and the wires between."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.machines = {name: Machine(netns) for name, netns in plan.netns.items()}

    def link(self, end: End) -> Link:
        return self.machines[end[0]].links[end[1]]

    def mac(self, end: End) -> str:
        """The planned MAC; for one left to the kernel a token that equals itself only."""
        return self.link(end).mac or f"?{end[0]}/{end[1]}"

    def peer(self, end: End) -> End | None:
        """The other end of a veth, if it is there and both are up."""
        link = self.link(end)
        if not (link.up and link.peer and link.peer[0] in self.machines):
            return None
        other = self.machines[link.peer[0]].links.get(link.peer[1])
        return link.peer if other and other.up else None

    def segment(self, end: End) -> Iterator[End]:
        """Every device that hears a broadcast sent from `end` and has a stack of its own behind it."""
        return (heard for heard in self._heard(end) if not self.link(heard).master)

    def _heard(self, end: End) -> Iterator[End]:
        """Those, and the tunnels that are ports of the bridges on the way."""
        link = self.link(end)
        if link.kind == "bridge":
            yield from self._behind_bridge(end, "")
        elif (other := self.peer(end)) is not None:
            yield from self._entering(other)

    def _entering(self, end: End) -> Iterator[End]:
        link = self.link(end)
        if not link.master:
            yield end
            return
        yield (end[0], link.master)
        yield from self._behind_bridge((end[0], link.master), link.name)

    def _behind_bridge(self, bridge: End, came_from: str) -> Iterator[End]:
        for port in self.machines[bridge[0]].ports(bridge[1]):
            if port.name == came_from:
                continue
            if (other := self.peer((bridge[0], port.name))) is not None:
                yield from self._entering(other)
            elif port.vxlan and port.up:
                yield (bridge[0], port.name)

    def port_to(self, bridge: End, mac: str) -> Link | None:
        """The port behind which a MAC lives: what the bridge has learned by the time of an ARP answer."""
        for port in self.machines[bridge[0]].ports(bridge[1]):
            other = self.peer((bridge[0], port.name))
            if other and any(self.mac(end) == mac for end in self._entering(other)):
                return port
            if port.vxlan and (port.name, mac) in self.machines[bridge[0]].fdb:
                return port
        return None

    def answer(self, end: End, address: IPAddress) -> str | None:
        """The MAC that ARP for an address on the segment of `end` is answered with. A VXLAN link with `proxy` answers
        for whom it has a neighbor entry, with that one's MAC, if it knows where to send that (arp_reduce)."""
        owner = self.owner(end, address)
        if owner is not None:
            return self.machines[owner[0]].subnets.answer(owner[1], address, self.mac(owner))
        return next((mac for tunnel in self._heard(end) if (mac := self._told(tunnel, address))), None)

    def _told(self, tunnel: End, address: IPAddress) -> str | None:
        machine, vxlan = self.machines[tunnel[0]], self.link(tunnel).vxlan
        entry = machine.neighbors.get((tunnel[1], address))
        return entry.mac if entry and vxlan and vxlan.proxy and (tunnel[1], entry.mac) in machine.fdb else None

    @cached_property
    def _tunnels(self) -> dict[str, list[tuple[Machine, Link]]]:
        found: dict[str, list[tuple[Machine, Link]]] = {}
        for machine in self.machines.values():
            for link in machine.plan.links:
                if link.vxlan:
                    found.setdefault(link.vxlan.socket or machine.name, []).append((machine, link))
        return found

    def tunnels(self, netns: str) -> list[tuple[Machine, Link]]:
        """The VXLAN links whose sockets are in this netns, and where they are themselves."""
        return self._tunnels.get(netns, [])

    def owner(self, end: End, address: IPAddress) -> End | None:
        """Who answers ARP for an address on the segment of `end`. A Linux host answers for any address of its own,
        on whichever device it is asked; the device that bears it comes first, and proxy ARP last."""
        heard = [other for other in self.segment(end) if address in self.machines[other[0]].local]
        bearing = [other for other in heard if self.machines[other[0]].bears(other[1], address)]
        proxies = (other for other in self.segment(end) if self.machines[other[0]].answers_for(other[1], address))
        return next(iter((*bearing, *heard)), None) or next(proxies, None)
