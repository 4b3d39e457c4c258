"""The kernel's state in plan shapes, without what the kernel makes itself: lo, the local table, standard rules. The
routes it makes for addresses are there (protocol kernel): somebody may have taken one away."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from socket import AF_INET, AF_INET6

from emu.kernel import firewall, ipvs, maps, netlink_links, netlink_routes, netns, programs, subnets, sysctls
from emu.kernel.handle import Handle
from emu.kernel.netlink import attributes
from emu.kernel.netlink_routes import PROTOCOLS, SCOPES, TYPES
from emu.netfilter import parse
from emu.netfilter.model import Table
from emu.plan import diff
from emu.plan.model import (
    Address,
    FdbEntry,
    IPAddress,
    Ipip,
    IpipBy,
    IPNetwork,
    Link,
    Neighbor,
    NetnsPlan,
    PolicyRule,
    Role,
    Route,
    Vxlan,
)

_KERNEL_RULES = (0, 32766, 32767)
_TABLE_LOCAL = 255
_RTM_F_CLONED = 0x200
_METRIC_V6 = 1024  # what IPv6 makes of a route without metric
_ROLES = {"bridge": Role.BRIDGE, "vxlan": Role.TUNNEL, "ipip": Role.TUNNEL, "veth": Role.HOST_VETH}
_SCOPES = {number: name for name, number in SCOPES.items()}
_TYPES = {number: name for name, number in TYPES.items()}
_PROTOCOLS = {number: name for name, number in PROTOCOLS.items()}

Names = Mapping[int, str]
ELSEWHERE = "another netns"


def read(plan: NetnsPlan, handle: Handle, handles: Mapping[str, Handle], variant: str) -> NetnsPlan:
    """What is there of what `plan` speaks of: the sysctls and iptables families are those it names, and sets and
    IPVS's services are read only if it names some."""
    handle.refresh()
    names = {index: name for name, index in handle.indexes.items()}
    with netns.entered(handle.netns):
        found_sysctls = tuple(sysctls.read(sysctl.key for sysctl in plan.sysctls))
    balancer = ipvs.read(handle.netns) if plan.virtual_services else ipvs.Balancer()
    return replace(
        plan,
        links=tuple(_links(plan, handle, handles, names)),
        addresses=tuple(_addresses(handle, names)),
        routes=tuple(_as_planned(plan, _routes(handle, names))),
        rules=tuple(_rules(handle)),
        neighbors=tuple(_neighbors(handle, names)),
        fdb=tuple(_fdb(handle, names)),
        sysctls=found_sysctls,
        sets=firewall.saved_sets(handle.netns) if plan.sets else (),
        programs=tuple(programs.there(handle, plan.programs)),
        maps=tuple(maps.there(handle, plan.maps)),
        virtual_services=balancer.services,
        real_servers=balancer.servers,
        subnets=subnets.read(handle.netns, plan, set(handle.indexes)),
        tables=tuple(_tables(plan, handle, variant)),
    )


def routes(plan: NetnsPlan, handle: Handle) -> tuple[Route, ...]:
    """These alone, which is quick."""
    handle.refresh()
    return tuple(_as_planned(plan, _routes(handle, {index: name for name, index in handle.indexes.items()})))


def _dump(handle: Handle, kind: int, head: bytes) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    for body in handle.connection.dump(kind, head):
        yield body, attributes(body[len(head) :])


def _u32(raw: bytes | None) -> int:
    return struct.unpack("=I", raw)[0] if raw else 0


def _text(raw: bytes | None) -> str:
    return (raw or b"").rstrip(b"\0").decode()


def _mac(raw: bytes | None) -> str:
    return (raw or b"").hex(":")


def _links(plan: NetnsPlan, handle: Handle, handles: Mapping[str, Handle], names: Names) -> Iterator[Link]:
    for body, found in _dump(handle, netlink_links.RTM_GETLINK, netlink_links.info(0)):
        flags = struct.unpack_from("=I", body, 8)[0]
        name = _text(found[netlink_links.IFLA_IFNAME])
        kind, data, slave = netlink_links.kind(found)
        if name == "lo":
            continue
        planned = plan.link(name)
        ipip = _ipip(planned, kind)
        yield Link(
            name=name,
            kind="ipip" if ipip else kind,
            role=planned.role if planned else _ROLES.get(kind, Role.UPLINK),
            owner=planned.owner if planned else plan.owner,
            mtu=_u32(found.get(netlink_links.IFLA_MTU)),
            mac=_mac(found.get(netlink_links.IFLA_ADDRESS)),
            master=names.get(_u32(found.get(netlink_links.IFLA_MASTER)), ""),
            hairpin=slave,
            qlen=_u32(found.get(netlink_links.IFLA_TXQLEN)),
            up=bool(flags & netlink_links.IFF_UP),
            noarp=kind == "veth" and bool(flags & netlink_links.IFF_NOARP),
            peer=_peer(planned, _u32(found.get(netlink_links.IFLA_LINK)), handles) if kind == "veth" else None,
            vxlan=_vxlan(planned, found, data, names) if kind == "vxlan" else None,
            ipip=ipip,
        )


def veth_ends(handle: Handle) -> dict[str, tuple[int, int]]:
    """Of each veth its index, and that of its other end in whatever namespace it is."""
    found = {}
    for body, attrs in _dump(handle, netlink_links.RTM_GETLINK, netlink_links.info(0)):
        if netlink_links.kind(attrs)[0] == "veth":
            index = struct.unpack_from("=i", body, 4)[0]
            found[_text(attrs[netlink_links.IFLA_IFNAME])] = (index, _u32(attrs.get(netlink_links.IFLA_LINK)))
    return found


def _ipip(planned: Link | None, kind: str) -> Ipip | None:
    """A TUN device stands for an ipip link that is planned so. What the rest of it is for no kernel tells."""
    by = {"ipip": IpipBy.MODULE, "tun": IpipBy.EBPF}.get(kind)
    return replace(planned.ipip, by=by) if planned and planned.ipip and by else None


def _peer(planned: Link | None, index: int, handles: Mapping[str, Handle]) -> tuple[str, str] | None:
    """The planned other end, if the link's other end has its index."""
    if planned is None or planned.peer is None or planned.peer[0] not in handles:
        return None
    return planned.peer if handles[planned.peer[0]].indexes.get(planned.peer[1]) == index else None


def _vxlan(planned: Link | None, link: dict[int, bytes], data: dict[int, bytes], names: Names) -> Vxlan:
    """Of a socket that is in another netns the kernel tells no more than that: it is taken for the planned one."""
    found = netlink_links.vxlan_values(data)
    if netlink_links.is_external(data):
        return Vxlan(vni=0, port=found.port, external=True)
    moved = netlink_links.IFLA_LINK_NETNSID in link
    home = planned.vxlan.socket if planned and planned.vxlan else ""
    return Vxlan(
        vni=found.vni,
        local=ip_address(found.local) if any(found.local) else None,
        dev=names.get(found.lower, ""),
        port=found.port,
        learning=found.learning,
        proxy=found.proxy,
        misses=found.misses,
        socket=home or ELSEWHERE if moved else "",
    )


def _addresses(handle: Handle, names: Names) -> Iterator[Address]:
    for body, found in _dump(handle, netlink_routes.RTM_GETADDR, bytes(8)):
        _, prefix, _, _, index = struct.unpack_from("=BBBBi", body)
        if names.get(index, "lo") != "lo":
            packed = found.get(2) or found[1]  # IFA_LOCAL, IFA_ADDRESS
            bare = _u32(found.get(8)) & netlink_routes.IFA_F_NOPREFIXROUTE  # IFA_FLAGS
            yield Address(dev=names[index], address=ip_interface((packed, prefix)), prefix_route=not bare)


def _routes(handle: Handle, names: Names) -> Iterator[Route]:
    for body, found in _dump(handle, netlink_routes.RTM_GETROUTE, bytes(12)):
        family, prefix, _, _, table, protocol, scope, kind, flags = struct.unpack_from("=BBBBBBBBI", body)
        table = _u32(found.get(15)) or table
        if table == _TABLE_LOCAL or flags & _RTM_F_CLONED:
            continue
        unicast = kind == TYPES["unicast"]
        metric = _u32(found.get(6))
        yield Route(
            dst=_network(family, found.get(1), prefix),
            dev=names.get(_u32(found.get(4)), "") if unicast else "",
            via=_via(found),
            src=_ip(found.get(7)),
            scope=_SCOPES.get(scope, str(scope)),
            onlink=bool(flags & 4),
            mtu=netlink_routes.mtu(found),
            metric=0 if family == AF_INET6 and metric == _METRIC_V6 else metric,
            table=table,
            type=_TYPES.get(kind, str(kind)),
            protocol=_PROTOCOLS.get(protocol, str(protocol)),
        )


def _as_planned(plan: NetnsPlan, routes: Iterator[Route]) -> Iterator[Route]:
    """IPv6 routes have no scope to read: they have the planned one."""
    scopes = {diff.key(route): route.scope for route in (*plan.routes, *(each.route for each in plan.expected))}
    for route in routes:
        yield replace(route, scope=scopes.get(diff.key(route), "global")) if route.dst.version == 6 else route


def _network(family: int, packed: bytes | None, prefix: int) -> IPNetwork:
    return ip_network((packed or bytes(4 if family == AF_INET else 16), prefix))


def _ip(packed: bytes | None) -> IPAddress | None:
    return ip_address(packed) if packed else None


def _via(found: dict[int, bytes]) -> IPAddress | None:
    """RTA_GATEWAY, or RTA_VIA: of another family, which stands before the address."""
    return _ip(found.get(5)) or _ip(found.get(18, b"")[2:])


def _rules(handle: Handle) -> Iterator[PolicyRule]:
    for family in (AF_INET, AF_INET6):
        head = bytes((family, *bytes(11)))
        for body, found in _dump(handle, netlink_routes.RTM_GETRULE, head):
            priority = _u32(found.get(6))
            if priority in _KERNEL_RULES:
                continue
            yield PolicyRule(
                priority=priority,
                table=_u32(found.get(15)) or body[4],
                dst=_network(family, found[1], body[1]) if 1 in found else None,
                src=_network(family, found[2], body[2]) if 2 in found else None,
                iif=_text(found.get(3)),
                fwmark=_u32(found.get(10)),
                fwmask=_u32(found.get(16)),
            )


def _neighbors(handle: Handle, names: Names) -> Iterator[Neighbor]:
    for family in (AF_INET, AF_INET6):
        for index, state, _, found in _entries(handle, family):
            if state & 0x80 and names.get(index, "lo") != "lo" and 2 in found:
                yield Neighbor(dev=names[index], address=ip_address(found[1]), mac=_mac(found[2]))


def _fdb(handle: Handle, names: Names) -> Iterator[FdbEntry]:
    """Entries with a VTEP; those of bridges' own ports are the kernel's."""
    for index, state, _, found in _entries(handle, netlink_routes.AF_BRIDGE):
        if state & 0x80 and 1 in found and 2 in found and index in names:
            yield FdbEntry(dev=names[index], mac=_mac(found[2]), dst=ip_address(found[1]))


def _entries(handle: Handle, family: int) -> Iterator[tuple[int, int, int, dict[int, bytes]]]:
    """(index, state, flags, attributes) of each neighbor or forwarding entry."""
    head = bytes((family, *bytes(11)))
    for body, found in _dump(handle, netlink_routes.RTM_GETNEIGH, head):
        index, state, flags = struct.unpack_from("=iHB", body, 4)
        yield index, state, flags, found


def _tables(plan: NetnsPlan, handle: Handle, variant: str) -> Iterator[Table]:
    for family in sorted({table.family for table in plan.tables}):
        yield from parse.save(firewall.save(handle.netns, variant, family), family)
