"""What others have made beside what we make: seen in a plan as if it were its own, and worked out of two readings of
the kernel, before they were called and after."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emu.memo import by_identity
from emu.netfilter import normal
from emu.netfilter.model import BUILTIN, Chain, Rule, Table
from emu.plan import diff
from emu.plan.drift import made_by_kernel
from emu.plan.model import (
    Address,
    FdbEntry,
    Foreign,
    Link,
    Neighbor,
    NetnsPlan,
    Plan,
    PolicyRule,
    Route,
    Sysctl,
)

KINDS: dict[str, type] = {
    "links": Link,
    "addresses": Address,
    "routes": Route,
    "rules": PolicyRule,
    "neighbors": Neighbor,
    "fdb": FdbEntry,
    "sysctls": Sysctl,
}


# What is seen


def foreseen(plan: Plan) -> Plan:
    """The plan with what others have made, for whoever predicts or looks; the same one where nobody has."""
    if not any(netns.foreign for netns in plan.netns.values()):
        return plan
    return replace(plan, netns={name: joined(netns) for name, netns in plan.netns.items()})


@by_identity
def joined(netns: NetnsPlan) -> NetnsPlan:
    if netns.foreign is None:
        return netns
    both: dict[str, Any] = {name: (*getattr(netns, name), *getattr(netns.foreign, name)) for name in KINDS}
    return replace(netns, foreign=None, **both)


# What has come


def after(known: Foreign | None, planned: NetnsPlan, first: NetnsPlan, then: NetnsPlan, by: str) -> Foreign:
    """What is others' now: what was known to be theirs and has not gone between the two readings, and what has come.
    Whatever else is there was there before they were called: it is nobody's, and drift."""
    kept = dict(_values(known, first, then))
    ours = {diff.key(value) for value in diff.in_order(planned)}
    found = {key: value for key, value in kept.items() if key not in ours and not _of_kernel(value)}
    parts: dict[str, Any] = {
        name: tuple(value for value in found.values() if isinstance(value, kind)) for name, kind in KINDS.items()
    }
    parts["addresses"] = tuple(replace(each, connected=_connected(each, then)) for each in parts["addresses"])
    heads, tails = [], []
    for table in then.tables:
        head, tail = _tables(table, _table(planned.tables, table), _table(first.tables, table), known)
        heads += [head] if head.chains else []
        tails += [tail] if tail.chains else []
    return Foreign(by=by, tables=tuple(heads), appended=tuple(tails), **parts)


def _values(known: Foreign | None, first: NetnsPlan, then: NetnsPlan) -> Iterator[tuple[Hashable, object]]:
    before = {diff.key(value): value for value in _all(first)}
    now = {diff.key(value): value for value in _all(then)}
    for value in known.values() if known else ():
        key = diff.key(value)
        if key in now or key not in before:  # what somebody else has taken away stays theirs, and is missed
            yield key, now.get(key, value) if before.get(key) != now.get(key) else value
    yield from ((key, value) for key, value in now.items() if before.get(key) != value)


def _connected(address: Address, then: NetnsPlan) -> bool:
    network = address.address.network
    return any((route.dst, route.dev, route.protocol) == (network, address.dev, "kernel") for route in then.routes)


def _of_kernel(value: object) -> bool:
    return not isinstance(value, Sysctl) and made_by_kernel(value)


def _all(netns: NetnsPlan) -> Iterator[object]:
    for name in KINDS:
        yield from getattr(netns, name)


def _table(tables: Iterable[Table], like: Table) -> Table:
    found = (table for table in tables if (table.family, table.name) == (like.family, like.name))
    return next(found, Table(like.family, like.name))


def _tables(then: Table, planned: Table, first: Table, known: Foreign | None) -> tuple[Table, Table]:
    """Their own chains with their rules before ours, and their rules behind ours."""
    ours, before = _rules(planned), _rules(first)
    theirs = [_rules(_table(each, then)) for each in ((known.tables, known.appended) if known else ())]
    heads: list[Chain] = []
    tails: list[Chain] = []
    for chain in then.chains:
        known_rules = {rule for t in theirs for rule in t.get(chain.name, ())}  # and planned, since they are known
        own = set(ours.get(chain.name, ())) - known_rules
        strays = set(before.get(chain.name, ())) - own - known_rules
        head, tail = _parted(normal.rules(chain), own, strays)
        if chain.name not in BUILTIN[then.name]:
            new = chain.name not in before and chain.name not in ours
            if new or any(chain.name in t for t in theirs):
                heads.append(Chain(chain.name, (*head, *tail)))
            continue
        heads += [Chain(chain.name, head)] if head else []
        tails += [Chain(chain.name, tail)] if tail else []
    return Table(then.family, then.name, tuple(heads)), Table(then.family, then.name, tuple(tails))


def _rules(table: Table) -> Mapping[str, Sequence[Rule]]:
    return {chain.name: normal.rules(chain) for chain in table.chains}


def _parted(rules: Sequence[Rule], own: set[Rule], strays: set[Rule]) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The rules that are neither ours nor strays: those before the first of ours, and the others."""
    at = next((index for index, rule in enumerate(rules) if rule in own), len(rules) if not own else 0)
    theirs = [(index, rule) for index, rule in enumerate(rules) if rule not in own and rule not in strays]
    return tuple(rule for index, rule in theirs if index < at), tuple(rule for index, rule in theirs if index >= at)
