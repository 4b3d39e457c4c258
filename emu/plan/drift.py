"""What the kernel has beside what the plan wants, netns by netns; each difference with the change that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest

from emu.netfilter import normal
from emu.netfilter.model import IpSet, Table
from emu.plan import diff, ebpf, expectations, render
from emu.plan.ebpf import MapEntry, SocketProgram
from emu.plan.ipvs import RealServer, VirtualService
from emu.plan.model import (
    Address,
    Daemon,
    FdbEntry,
    Ipip,
    Link,
    Neighbor,
    NetnsChange,
    NetnsPlan,
    PolicyRule,
    Route,
    Sysctl,
    TcProgram,
    Vxlan,
)
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort

MISSING, NOT_PLANNED, NOT_RUNNING = "missing", "not in the plan", "not running"
LOCAL_TABLE = 255
ETHERNET_MTU = 1500
METRIC_V6 = 256  # of a route IPv6 makes for an address (IP6_RT_PRIO_ADDRCONF)
ASPECTS = ("kind", "mtu", "mac", "master", "hairpin", "qlen", "noarp", "up", "vxlan", "ipip")
#: What tunnel modules put into every netns, once they are loaded.
OF_MODULES = frozenset(
    {"tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6tnl0", "ip6_vti0", "ip6gre0"}
)  # fmt: skip
KERNEL_RULES = (0, 32766, 32767)  # local, main, default: in every netns from the start


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """`what` names the thing (`route 10.244.2.0/24`), `wanted` and `got` are as the tool that lists it prints them.
    Applying `change` mends it; it is empty when an earlier drift's change mends this one too."""

    netns: str
    what: str
    wanted: str
    got: str
    change: NetnsChange

    def __str__(self) -> str:
        if self.got == MISSING:
            return f"{self.netns}: {self.what}: missing: {self.wanted}"
        if self.wanted == NOT_PLANNED:
            return f"{self.netns}: {self.what}: not in the plan: {self.got}"
        return f"{self.netns}: {self.what}: wanted {self.wanted}, got {self.got}"


def drift(wanted: NetnsPlan, actual: NetnsPlan) -> tuple[Drift, ...]:
    """Ignores what the kernel adds by itself (lo, routes for addresses, link-local addresses, the standard rules), and
    what it takes away by itself with a link that is down or gone: that is told, and mended, with the link."""
    return (
        *_daemons(wanted, actual),
        *_values(wanted, actual),
        *_expected(wanted, actual),
        *_foreign(wanted, actual),
        *_attachment(wanted, actual),
        *_tables(wanted, actual),
    )


def missing(wanted: NetnsPlan) -> Drift:
    """The whole netns is gone."""
    change = diff.netns(None, wanted)
    assert change is not None
    return Drift(netns=wanted.name, what="network namespace", wanted=wanted.name, got=MISSING, change=change)


def _values(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    have = {diff.key(value): value for value in diff.in_order(actual)}
    connected = {diff.key(route): route for route in _connected(wanted, have)}
    want = connected | {diff.key(value): value for value in diff.in_order(wanted)}
    gone, down = _without(wanted, have)
    for key, value in want.items():
        got = have.get(key)
        if (
            (got is not None and same(value, got))
            or _goes_with(value, got, gone | down)
            or _emptied(value, got, actual)
        ):
            continue
        removed = (got,) if isinstance(value, Link) and isinstance(got, Link) and _other_tunnel(value, got) else ()
        lost = gone | {link.name for link in removed}
        added = (value, *_dependents(value, want, have, lost, down)) if isinstance(value, Link) else (value,)
        change = NetnsChange(name=wanted.name, old=actual, new=wanted, added=added, removed=removed)
        yield _drift(wanted.name, value, got, change)
    brought = {diff.key(each.route) for each in wanted.expected}
    brought |= {diff.key(each) for each in wanted.foreign.values()} if wanted.foreign else set()
    for key, value in have.items():
        if key not in want and key not in brought and not made_by_kernel(value):
            change = NetnsChange(name=wanted.name, old=actual, new=wanted, removed=(value,))
            yield _drift(wanted.name, None, value, change)


def _connected(wanted: NetnsPlan, have: Mapping[Hashable, object]) -> Iterator[Route]:
    """The routes the kernel makes for addresses that are there: somebody may have taken only the route away."""
    for address in wanted.addresses:
        network, link = address.address.network, have.get(("link", address.dev))
        there = isinstance(link, Link) and link.up and diff.key(address) in have
        if there and address.prefix_route and network.prefixlen < network.max_prefixlen:
            own = {"src": address.address.ip, "scope": "link"} if network.version == 4 else {"metric": METRIC_V6}
            yield Route(dst=network, dev=address.dev, protocol="kernel", **own)


def _without(wanted: NetnsPlan, have: Mapping[Hashable, object]) -> tuple[set[str], set[str]]:
    """The links that are not there, and those that are down and should be up."""
    found = {link.name: have.get(diff.key(link)) for link in wanted.links}
    down = {link.name for link in wanted.links if link.up and isinstance(f := found[link.name], Link) and not f.up}
    return {name for name, link in found.items() if link is None}, down


def _goes_with(value: object, got: object, links: set[str]) -> bool:
    """Missing because its link is: an address or route on it, a port of it."""
    if isinstance(value, Link):
        return isinstance(got, Link) and value.master in links and same(replace(value, master=""), got)
    return got is None and diff.link_of(value) in links


def _emptied(value: object, got: object, actual: NetnsPlan) -> bool:
    """A bridge whose last port has gone: unless somebody has set its MTU it takes that of its ports, and without any
    Ethernet's (net/bridge/br_if.c, br_mtu_auto_adjust)."""
    if not (isinstance(value, Link) and isinstance(got, Link)) or value.kind != "bridge":
        return False
    alone = all(link.master != value.name for link in actual.links)
    return alone and got.mtu == ETHERNET_MTU and same(replace(value, mtu=got.mtu), got)


def _other_tunnel(wanted: Link, got: Link) -> bool:
    """Of the same name, and what makes it this tunnel cannot be changed: it must be made again."""
    return wanted.kind == got.kind and wanted.vxlan != got.vxlan


def _dependents(
    link: Link, want: Mapping[Hashable, object], have: Mapping[Hashable, object], gone: set[str], down: set[str]
) -> Iterator[object]:
    """What comes back with a link: all that lives on one that is made again, what is missing on one that was down."""
    for key, value in want.items():
        of = value.master if isinstance(value, Link) else diff.link_of(value)
        told = link.name in gone and link.name in diff.told_of(value)
        if told or (of == link.name and (of in gone or (of in down and key not in have))):
            yield value


def _drift(netns: str, wanted: object, got: object, change: NetnsChange) -> Drift:
    if isinstance(wanted, Link) and isinstance(got, Link):
        texts = _aspects(wanted, wanted, got), _aspects(got, wanted, got)
    else:
        texts = _text(wanted, NOT_PLANNED), _text(got, MISSING)
    what = name_of(wanted if wanted is not None else got)
    return Drift(netns=netns, what=what, wanted=texts[0], got=texts[1], change=change)


def _text(value: object, nothing: str) -> str:
    return nothing if value is None else value.value if isinstance(value, Sysctl) else render.value_text(value)


def _aspects(link: Link, wanted: Link, got: Link) -> str:
    """What the two differ in, as this one has it."""
    words = {
        "kind": f"type {link.kind}",
        "mtu": f"mtu {link.mtu}",
        "mac": f"address {link.mac}",
        "master": f"master {link.master}" if link.master else "no master",
        "hairpin": f"hairpin {'on' if link.hairpin else 'off'}",
        "qlen": f"txqueuelen {link.qlen}",
        "noarp": f"arp {'off' if link.noarp else 'on'}",
        "up": "up" if link.up else "down",
        "vxlan": _vxlan(link.vxlan),
        "ipip": _ipip(link.ipip),
    }
    return ", ".join(text for field, text in words.items() if not _same_aspect(field, wanted, got))


def _vxlan(vxlan: Vxlan | None) -> str:
    if vxlan is None:
        return "no VXLAN"
    return f"VXLAN {render.vxlan(vxlan)}{f' with its socket in {vxlan.socket}' if vxlan.socket else ''}"


def _ipip(ipip: Ipip | None) -> str:
    return f"IPIP by {ipip.by}" if ipip else "no IPIP"


def same(wanted: object, got: object) -> bool:
    """Equal in what the plan fixes: what it leaves to the kernel (a MAC, a route's protocol) may be anything."""
    match wanted, got:
        case Link(), Link():
            return _same_link(wanted, got)
        case Route(), Route():
            fields = ("type", "via", "src", "scope", "onlink", "mtu")
            return all(getattr(wanted, f) == getattr(got, f) for f in fields) and wanted.dev in ("", got.dev)
        case Address(), Address():
            return (wanted.dev, wanted.address) == (got.dev, got.address)
        case Neighbor(), Neighbor():
            return wanted.mac.lower() == got.mac.lower()
        case Sysctl(), Sysctl():
            return wanted.value.split() == got.value.split()
        case IpSet(), IpSet():
            return (wanted.type, wanted.family, wanted.members) == (got.type, got.family, got.members)
        case TcProgram(), TcProgram():
            return wanted.name == got.name
    return wanted == got


def _same_link(wanted: Link, got: Link) -> bool:
    return all(_same_aspect(field, wanted, got) for field in ASPECTS)


def _same_aspect(field: str, wanted: Link, got: Link) -> bool:
    if field == "mac":
        return wanted.mac.lower() in ("", got.mac.lower())
    return bool(getattr(wanted, field) == getattr(got, field))


def made_by_kernel(value: object) -> bool:
    match value:
        case Link():
            return value.name == "lo" or (value.name in OF_MODULES and not value.up)
        case Address():
            return value.dev == "lo" or value.address.is_link_local
        case Route():
            automatic = value.protocol == "kernel" or value.table == LOCAL_TABLE
            return automatic or value.dst.is_link_local or value.dst.is_multicast
        case PolicyRule():
            return value.priority in KERNEL_RULES
        case Sysctl():
            return True
    return False


def name_of(value: object) -> str:
    match value:
        case Link():
            return f"link {value.name}"
        case Address():
            return f"address {value.address}"
        case Route():
            return f"route {value.dst}"
        case PolicyRule():
            return f"ip rule {value.priority}"
        case Neighbor():
            return f"neighbor {value.address} dev {value.dev}"
        case FdbEntry():
            return f"FDB entry {value.mac} dev {value.dev}"
        case Sysctl():
            return f"sysctl {value.key}"
        case IpSet():
            return f"ipset {value.name}"
        case TcProgram():
            return f"tc filter {value.dev} {value.where}"
        case SocketProgram():
            return f"socket program {value.hook}"
        case MapEntry():
            return f"map {value.map}, key {ebpf.key_text(value.map, value.key)}"
        case VirtualService():
            return f"IPVS service {value.taken}"
        case RealServer():
            return f"IPVS server {value.end} of {value.taken}"
        case Subnet():
            return f"subnet {value.network}"
        case SubnetPort():
            return f"subnet {value.network} dev {value.dev}"
        case SubnetAddress():
            return f"subnet {value.network}, {value.shown}"
    return str(value)


def _tables(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    have = {(table.family, table.name): table for table in actual.tables}
    for table in wanted.tables:
        got = have.get((table.family, table.name))
        differences = normal.same(table, got or Table(table.family, table.name))
        change = NetnsChange(name=wanted.name, old=actual, new=wanted, tables=((got, table),))
        nothing = NetnsChange(name=wanted.name, old=actual, new=wanted)
        tool = "ip6tables" if table.family == 6 else "iptables"
        for index, difference in enumerate(differences):
            yield Drift(
                netns=wanted.name,
                what=f"{tool} -t {table.name}, chain {difference.chain}",
                wanted=difference.wanted or NOT_PLANNED,
                got=difference.got or MISSING,
                change=change if index == 0 else nothing,
            )


def _expected(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    """What a daemon should have brought is told, and left to the daemon to mend."""
    have = {diff.key(route): route for route in actual.routes}
    nothing = NetnsChange(name=wanted.name, old=actual, new=wanted)
    for each in wanted.expected:
        if not expectations.has_come(each, have):
            yield replace(
                _drift(wanted.name, each.route, have.get(diff.key(each.route)), nothing),
                what=f"route {each.route.dst} (by {each.by})",
            )


def _foreign(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    """What others have made is mended where it can be written; a link that is gone is theirs to make again."""
    if wanted.foreign is None:
        return
    have = {diff.key(value): value for value in diff.in_order(actual)}
    gone = {link.name for link in wanted.foreign.links if diff.key(link) not in have}
    for value in wanted.foreign.values():
        got = have.get(diff.key(value))
        if (got is not None and same(value, got)) or _goes_with(value, got, gone):
            continue
        lost = isinstance(value, Link) and (got is None or value.master in gone)
        added = () if lost else (value,)
        change = NetnsChange(name=wanted.name, old=actual, new=wanted, added=added)
        yield replace(
            _drift(wanted.name, value, got, change), what=f"{name_of(value)} (by the plugins of {wanted.foreign.by})"
        )


def _attachment(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    """A Pod's plugins are asked (CHECK); only they could mend what they find."""
    got = actual.attachment
    if wanted.attachment is None or got is None or not got.wrong:
        return
    what = f"{wanted.attachment.ifname} in network {wanted.attachment.network.name}"
    nothing = NetnsChange(name=wanted.name, old=actual, new=wanted)
    yield Drift(netns=wanted.name, what=what, wanted="ADD and CHECK succeed", got=got.wrong, change=nothing)


def _daemons(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    running = {daemon.name: daemon for daemon in actual.daemons}
    nothing = NetnsChange(name=wanted.name, old=actual, new=wanted)
    for daemon in wanted.daemons:
        got, what = running.get(daemon.name), f"daemon {daemon.name}"
        change = replace(nothing, daemons=((got, daemon),))
        if got is None:
            command = shlex.join(daemon.argv)
            yield Drift(netns=wanted.name, what=what, wanted=command, got=NOT_RUNNING, change=change)
            continue
        for ours, theirs in _lines(daemon, got):
            yield Drift(netns=wanted.name, what=what, wanted=ours, got=theirs, change=change)
            change = nothing
        for sign in daemon.signs:
            if sign not in got.signs:
                yield Drift(netns=wanted.name, what=what, wanted=sign.what, got="none", change=nothing)


def _lines(wanted: Daemon, got: Daemon) -> Iterator[tuple[str, str]]:
    """Of each file, the first line that differs; `FILE:LINE: text`."""
    have = {file.path: file.text for file in got.files}
    for file in wanted.files:
        ours, theirs = file.text.splitlines(), have.get(file.path, "").splitlines()
        for number, (a, b) in enumerate(zip_longest(ours, theirs, fillvalue=""), 1):
            if a != b:
                yield f"{file.path}:{number}: {a or '(no line)'}", b or "(no line)"
                break
