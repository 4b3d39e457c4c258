"""What the kernel has beside what the plan wants, netns by netns; each difference with the change that mends it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from emu.netfilter import normal
from emu.netfilter.model import Table
from emu.plan import diff, render
from emu.plan.model import Address, FdbEntry, Link, Neighbor, NetnsChange, NetnsPlan, PolicyRule, Route, Sysctl

MISSING, NOT_PLANNED = "missing", "not in the plan"
LOCAL_TABLE = 255
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
    """Ignores what the kernel adds by itself: lo, routes for addresses, link-local addresses, the standard rules."""
    found = [*_values(wanted, actual), *_tables(wanted, actual)]
    return tuple(found)


def missing(wanted: NetnsPlan) -> Drift:
    """The whole netns is gone."""
    change = diff.netns(None, wanted)
    assert change is not None
    return Drift(netns=wanted.name, what="network namespace", wanted=wanted.name, got=MISSING, change=change)


def _values(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    want = {diff.key(value): value for value in diff.in_order(wanted)}
    have = {diff.key(value): value for value in diff.in_order(actual)}
    lost = {name for (kind, name, *_), _ in _pairs(want.keys() - have.keys(), want) if kind == "link"}
    for key, value in want.items():
        got = have.get(key)
        if got is None or not same(value, got):
            change = NetnsChange(name=wanted.name, old=actual, new=wanted, added=_with_dependents(value, want, lost))
            yield _drift(wanted.name, value, got, change)
    for key, value in have.items():
        if key not in want and not made_by_kernel(value):
            change = NetnsChange(name=wanted.name, old=actual, new=wanted, removed=(value,))
            yield _drift(wanted.name, None, value, change)


def _pairs(keys: Iterable[Hashable], of: Mapping[Hashable, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    for key in keys:
        assert isinstance(key, tuple)
        yield key, of[key]


def _with_dependents(value: object, want: Mapping[Hashable, object], lost: set[str]) -> tuple[object, ...]:
    """A link that must be made again takes its addresses, routes, neighbors and ports with it."""
    if not isinstance(value, Link):
        return () if diff.link_of(value) in lost else (value,)
    if value.name not in lost:
        return (value,)
    rest = (v for v in want.values() if (v.master if isinstance(v, Link) else diff.link_of(v)) == value.name)
    return (value, *rest)


def _drift(netns: str, wanted: object, got: object, change: NetnsChange) -> Drift:
    shown = wanted if wanted is not None else got
    return Drift(
        netns=netns,
        what=name_of(shown),
        wanted=NOT_PLANNED if wanted is None else render.value_text(wanted),
        got=MISSING if got is None else render.value_text(got),
        change=change,
    )


def same(wanted: object, got: object) -> bool:
    """Equal in what the plan fixes: what it leaves to the kernel (a MAC, a route's protocol) may be anything."""
    match wanted, got:
        case Link(), Link():
            return _same_link(wanted, got)
        case Route(), Route():
            fields = ("type", "via", "src", "scope", "onlink")
            return all(getattr(wanted, f) == getattr(got, f) for f in fields) and wanted.dev in ("", got.dev)
        case Neighbor(), Neighbor():
            return wanted.mac.lower() == got.mac.lower()
        case Sysctl(), Sysctl():
            return wanted.value.split() == got.value.split()
    return wanted == got


def _same_link(wanted: Link, got: Link) -> bool:
    fields = ("kind", "mtu", "master", "hairpin", "qlen", "up", "vxlan")
    return all(getattr(wanted, f) == getattr(got, f) for f in fields) and wanted.mac.lower() in ("", got.mac.lower())


def made_by_kernel(value: object) -> bool:
    match value:
        case Link():
            return value.name == "lo"
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
    return str(value)


def _tables(wanted: NetnsPlan, actual: NetnsPlan) -> Iterator[Drift]:
    have = {(table.family, table.name): table for table in actual.tables}
    for table in wanted.tables:
        got = have.get((table.family, table.name))
        differences = normal.same(table, got or Table(table.family, table.name))
        change = NetnsChange(name=wanted.name, old=actual, new=wanted, tables=((got, table),))
        nothing = NetnsChange(name=wanted.name, old=actual, new=wanted)
        for index, difference in enumerate(differences):
            yield Drift(
                netns=wanted.name,
                what=f"{'ip6tables' if table.family == 6 else 'iptables'} -t {table.name}",
                wanted="the planned rules",
                got=str(difference),
                change=change if index == 0 else nothing,
            )
