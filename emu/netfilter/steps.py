"""In which order changed tables are written. Each table is a transaction of its own, and a packet may come between two.

A Service without endpoints is refused in `filter`, one with endpoints is translated in `nat`. Whichever way it goes, a
packet must meet one of the two: one that meets neither leaves by the default route, masqueraded, and conntrack keeps
every later packet of that flow on the same wrong way. So `filter` gets what is new first and loses what is old last.
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.memo import by_identity
from emu.netfilter.model import Chain, Table

Pair = tuple[Table | None, Table | None]


def steps(pairs: Sequence[Pair]) -> list[Pair]:
    """The changes of one family's tables, `filter` perhaps in two steps."""
    outer = [(old, new) for old, new in pairs if old and new and new.name == "filter"]
    rest = [pair for pair in pairs if pair not in outer]
    if not rest or not outer:
        return list(pairs)
    (old, new) = outer[0]
    both = _both(old, new)
    return [(old, both), *rest, (both, new)]


def _union(old: Table, new: Table) -> Table:
    """The new table, with the rules and chains of the old one that it lacks behind its own."""
    names = {chain.name for chain in new.chains}
    chains = (_joined(old.chain(chain.name), chain) for chain in new.chains)
    return Table(new.family, new.name, (*chains, *(chain for chain in old.chains if chain.name not in names)))


def _joined(old: Chain | None, new: Chain) -> Chain:
    if old is None or old is new or old.rules == new.rules:
        return new
    kept = set(new.rules)
    return Chain(new.name, (*new.rules, *(rule for rule in old.rules if rule not in kept)), new.policy)


_both = by_identity(_union, size=64)
