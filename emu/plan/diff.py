"""What must change to turn one plan into another. Pieces that are the same object are equal at the cost of one
comparison, so a change of one Deployment costs what it touches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

from emu.netfilter.model import IpSet, Table
from emu.plan import ebpf
from emu.plan.ebpf import MapEntry, SocketProgram
from emu.plan.ipvs import RealServer, VirtualService
from emu.plan.model import (
    Address,
    Changes,
    Daemon,
    FdbEntry,
    Link,
    Neighbor,
    NetnsChange,
    NetnsKind,
    NetnsPlan,
    Plan,
    PolicyRule,
    Refusal,
    Route,
    Sysctl,
    TcProgram,
)
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort

_VALUES = (
    *("links", "addresses", "routes", "refused", "rules", "neighbors", "fdb", "sysctls", "sets"),
    *("programs", "maps", "virtual_services", "real_servers", "subnets"),
)
NETNS_ORDER = {NetnsKind.FABRIC: 0, NetnsKind.ROUTER: 1, NetnsKind.NETWORK: 2, NetnsKind.NODE: 3, NetnsKind.POD: 4}
_OF_NO_LINK = (
    *(Link, PolicyRule, IpSet, SocketProgram, MapEntry),
    *(VirtualService, RealServer, Subnet, SubnetAddress),
)
# A port needs its bridge and a VXLAN link the device below it, so they are made in this order.
_LINK_ORDER = {"bridge": 0, "dummy": 1, "veth": 2}


def diff(old: Plan | None, new: Plan) -> Changes:
    """Netns are ordered fabric, networks, nodes, Pods; those to be removed come first, Pods before nodes."""
    before = old.netns if old else {}
    gone = [NetnsChange(name=name, old=plan, new=None) for name, plan in before.items() if name not in new.netns]
    changed = [
        change
        for name, plan in new.netns.items()
        if before.get(name) is not plan and (change := netns(before.get(name), plan))
    ]
    gone.sort(key=lambda change: -NETNS_ORDER[change.old.kind] if change.old else 0)
    changed.sort(key=lambda change: NETNS_ORDER[change.new.kind] if change.new else 0)
    zone = None if old and (old.zone is new.zone or old.zone == new.zone) else new.zone
    return Changes(netns=(*gone, *changed), zone=zone)


def netns(old: NetnsPlan | None, new: NetnsPlan) -> NetnsChange | None:
    """The change of one netns; None when nothing differs. A new netns lists everything, in the order to be made.

    A value that keeps its key (a link its name and kind, a route its destination, a sysctl its key …) but differs
    stands in `added` alone: it replaces. One that goes with its link is not listed in `removed`: the kernel removes
    it. A sysctl that is no longer asked for keeps its value."""
    if old is None:
        return NetnsChange(
            name=new.name,
            old=None,
            new=new,
            added=tuple(in_order(new)),
            tables=tuple((None, table) for table in new.tables),
            daemons=tuple((None, daemon) for daemon in new.daemons),
            pod_changed=new.pod is not None,
        )
    added, removed = ((), ()) if _same_values(old, new) else _values(old, new)
    tables = tuple(_tables(old.tables, new.tables))
    daemons = () if old.daemons is new.daemons else tuple(_daemons(old.daemons, new.daemons))
    pod_changed = old.pod is not new.pod and old.pod != new.pod
    if not (added or removed or tables or daemons or pod_changed or old.attachment != new.attachment):
        return None
    return NetnsChange(
        name=new.name,
        old=old,
        new=new,
        added=added,
        removed=removed,
        tables=tables,
        daemons=daemons,
        pod_changed=pod_changed,
    )


def in_order(plan: NetnsPlan) -> Iterator[object]:
    """Every value of a netns in an order in which the kernel takes it."""
    yield from plan.sets
    own: list[Sysctl] = []
    of_links: list[Sysctl] = []
    for sysctl in plan.sysctls:
        (of_links if link_of(sysctl) else own).append(sysctl)
    yield from own
    yield from sorted(plan.links, key=_link_rank)
    yield from of_links
    yield from plan.addresses
    # A gateway must be reachable before a route can go via it, unless the route says onlink.
    yield from sorted(plan.routes, key=lambda route: (route.via is not None, route.onlink))
    yield from plan.refused
    yield from plan.rules
    yield from plan.neighbors
    yield from plan.fdb
    yield from plan.maps
    yield from plan.programs
    yield from plan.virtual_services
    yield from plan.real_servers
    yield from plan.subnets


def key(value: Any) -> Hashable:
    """What makes two values the same thing, of which there can be one."""
    match value:
        case Link():
            return ("link", value.name)
        case Address():
            # The kernel does not change the flag of an address: it is removed, and comes anew.
            return ("address", value.dev, value.address, value.prefix_route)
        case Route():
            return ("route", value.dst, value.metric, value.table)
        case Refusal():
            return ("refused", key(value.route))
        case Neighbor():
            return ("neighbor", value.dev, value.address)
        case FdbEntry():
            return ("fdb", value.dev, value.mac)
        case Sysctl():
            return ("sysctl", value.key)
        case TcProgram():
            return ("program", value.dev, value.where)
        case SocketProgram():
            return ("socket program", value.hook)
        case MapEntry():
            return ("map", value.map, value.key)
        case PolicyRule():
            return ("rule", value)
        case IpSet():
            return ("set", value.name)
        case VirtualService():
            return ("virtual service", value.taken)
        case RealServer():
            return ("real server", value.taken, value.address, value.port)
        case Subnet():
            return ("subnet", value.network)
        case SubnetPort():
            return ("subnet port", value.network, value.dev)
        case SubnetAddress():
            return ("subnet address", value.network, value.address, value.mac)
    raise TypeError(type(value))


def link_of(value: Any) -> str:
    """The link a value lives and dies with; "" when none."""
    if isinstance(value, Sysctl):
        parts = value.key.split(".")
        of_link = parts[:1] == ["net"] and len(parts) > 4 and parts[2] in ("conf", "neigh")
        name = parts[3].replace("/", ".") if of_link else ""
        return "" if name in ("all", "default") else name
    if isinstance(value, Refusal):
        return value.route.dev
    return "" if isinstance(value, _OF_NO_LINK) else value.dev


def told_of(value: Any) -> frozenset[str]:
    """The links whose index it has been given."""
    if isinstance(value, MapEntry):
        return ebpf.links(value)
    return frozenset(map(str, value.config)) if isinstance(value, TcProgram) else frozenset()


def remade(old: Any, new: Link) -> bool:
    """True when the kernel cannot turn one into the other: it must be removed and made again."""
    return (old.kind, old.peer, old.vxlan, old.ipip) != (new.kind, new.peer, new.vxlan, new.ipip)


def _same_values(old: NetnsPlan, new: NetnsPlan) -> bool:
    """Most often only tables differ; what is the same object is equal at no cost."""
    return all(getattr(old, name) == getattr(new, name) for name in _VALUES)


def _link_rank(link: Link) -> int:
    return _LINK_ORDER.get(link.kind, 3)


def _values(old: NetnsPlan, new: NetnsPlan) -> tuple[tuple[object, ...], tuple[object, ...]]:
    kept = _kept(old.maps, new.maps)
    before: dict[Hashable, Any] = {key(value): value for value in in_order(old) if id(value) not in kept}
    after = {key(value): value for value in in_order(new) if id(value) not in kept}
    afresh = {
        value.name
        for k, value in after.items()
        if isinstance(value, Link) and (k not in before or remade(before[k], value))
    }
    leaving = {link.name for link in old.links if ("link", link.name) not in after or link.name in afresh}
    added = tuple(
        value
        for k, value in after.items()
        if k not in before
        or link_of(value) in afresh
        or (afresh and told_of(value) & afresh)
        or (before[k] is not value and before[k] != value)
    )
    removed = [
        value
        for k, value in before.items()
        if (value.name in leaving if isinstance(value, Link) else _drop(value, k not in after, leaving))
    ]
    again = tuple(value for value in new.maps if id(value) in kept and told_of(value) & afresh) if afresh else ()
    return (*added, *again), tuple(reversed(removed))


def _kept(old: Sequence[MapEntry], new: Sequence[MapEntry]) -> set[int]:
    """The entries that are the same object in both: there are many, and they are not looked at."""
    return {id(value) for value in old} & {id(value) for value in new}


def _drop(value: object, absent: bool, leaving: set[str]) -> bool:
    return absent and not isinstance(value, Sysctl) and link_of(value) not in leaving


def _tables(old: Iterable[Table], new: Iterable[Table]) -> Iterator[tuple[Table | None, Table | None]]:
    name: Callable[[Table], tuple[int, str]] = lambda table: (table.family, table.name)  # noqa: E731
    before, after = {name(table): table for table in old}, {name(table): table for table in new}
    for k in before.keys() - after.keys():
        yield before[k], None
    for k, table in after.items():
        if before.get(k) is not table and before.get(k) != table:
            yield before.get(k), table


def _daemons(old: Iterable[Daemon], new: Iterable[Daemon]) -> Iterator[tuple[Daemon | None, Daemon | None]]:
    before, after = {daemon.name: daemon for daemon in old}, {daemon.name: daemon for daemon in new}
    yield from ((daemon, None) for name, daemon in before.items() if name not in after)
    yield from ((before.get(name), daemon) for name, daemon in after.items() if before.get(name) != daemon)
