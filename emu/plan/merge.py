"""Fragments of many planners → one NetnsPlan per netns, one complete Table per table.

What went in unchanged comes out as the same object, so that a diff of two plans skips it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import chain as flattened
from operator import attrgetter
from typing import Any

from emu.errors import PlanError
from emu.memo import Memo
from emu.netfilter.model import BUILTIN, Chain, Rule, Table
from emu.plan.hooks import POSITION
from emu.plan.model import NetnsPlan, RulesetPart


@dataclass(frozen=True, slots=True)
class Rules:
    """One planner's rules for one netns."""

    netns: str
    part: RulesetPart


#: What a planner gives: a piece of a netns (its tuples are joined in the order the planners ran), or rules for it.
Fragment = NetnsPlan | Rules

JOINED = (
    "links",
    "addresses",
    "routes",
    "refused",
    "rules",
    "neighbors",
    "fdb",
    "sysctls",
    "sets",
    "programs",
    "maps",
    "virtual_services",
    "real_servers",
    "subnets",
    "daemons",
    "files",
    "expected",
)
_ALL_JOINED = attrgetter(*JOINED)
SINGLE = ("foreign", "attachment", "pod")  # one piece has it, or none


def merge(fragments: Iterable[Fragment]) -> dict[str, NetnsPlan]:
    """All fragments, by netns, in the order the netns were first named."""
    pieces: dict[str, list[NetnsPlan]] = {}
    parts: dict[str, list[RulesetPart]] = {}
    for fragment in fragments:
        if isinstance(fragment, Rules):
            parts.setdefault(fragment.netns, []).append(fragment.part)
        else:
            pieces.setdefault(fragment.name, []).append(fragment)
    return {
        name: _netns(name, name, tuple(of_one), tables(tuple(parts[name])))
        if name in parts
        else _joined(name, tuple(of_one))
        for name, of_one in pieces.items()
    }


def _with_tables(name: str, pieces: tuple[NetnsPlan, ...], merged: tuple[Table, ...]) -> NetnsPlan:
    joined = _joined(name, pieces)
    return replace(joined, tables=merged) if merged else joined


def _join(pieces: tuple[NetnsPlan, ...]) -> NetnsPlan:
    if len(pieces) == 1:
        return pieces[0]
    joined: dict[str, Any] = dict(zip(JOINED, map(_one, zip(*map(_ALL_JOINED, pieces), strict=True)), strict=True))
    only: dict[str, Any] = {name: next(filter(None, (getattr(p, name) for p in pieces)), None) for name in SINGLE}
    return replace(pieces[0], **joined, **only)


def _one(parts: tuple[tuple[object, ...], ...]) -> tuple[object, ...]:
    """Of most values only one piece has any, of many none."""
    some = [part for part in parts if part]
    return some[0] if len(some) == 1 else tuple(flattened.from_iterable(some))


#: In two steps: when only rules change, the rest is not put together again.
_joined: Memo[NetnsPlan] = Memo(_join, size=1 << 14)
_netns: Memo[NetnsPlan] = Memo(_with_tables, size=1 << 14)


def tables(parts: tuple[RulesetPart, ...]) -> tuple[Table, ...]:
    """The complete tables of one netns. Netns with the same parts in a table share the merged table."""
    for part in parts:
        if part.owner not in POSITION:
            raise PlanError(f"{part.owner} has no place in plan.hooks.ORDER")
    if not parts:
        return ()
    ordered = sorted(parts, key=lambda part: POSITION[part.owner])
    return tuple(
        _merged((family, name, *map(id, concerned)), family, name, concerned)
        for family in sorted({part.family for part in ordered})
        for name in BUILTIN
        if (concerned := tuple(part for part in ordered if part.family == family and _concerns(part, name)))
    )


def _concerns(part: RulesetPart, name: str) -> bool:
    named = (*(table.name for table in part.tables), *(hook.table for hook in part.hooks))
    return name in named or any(table == name for table, _, _ in part.policies)


def _merge_table(family: int, name: str, parts: tuple[RulesetPart, ...]) -> Table:
    hooked: dict[str, list[Rule]] = {builtin: [] for builtin in BUILTIN[name]}
    own: list[Chain] = []
    for part in parts:
        for hook in part.hooks:
            if hook.table == name:
                hooked[hook.chain].append(hook.rule)
        own.extend(chain for table in part.tables if table.name == name for chain in table.chains)
    policies = {chain: policy for part in parts for table, chain, policy in part.policies if table == name}
    builtin = (Chain(chain, tuple(rules), policies.get(chain, "ACCEPT")) for chain, rules in hooked.items())
    return Table(family, name, (*builtin, *own))


_merged: Memo[Table] = Memo(_merge_table, size=4096)

assert {"name", "kind", "owner", "tables", *SINGLE, *JOINED} == {field.name for field in fields(NetnsPlan)}
