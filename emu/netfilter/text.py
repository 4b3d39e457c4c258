"""Rules → text: what goes into `iptables-restore`, and what `iptables-save` would print."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from emu.memo import Memo, by_identity
from emu.netfilter import normal
from emu.netfilter.line import line
from emu.netfilter.model import BUILTIN, Chain, Rule, Table


def restore(table: Table, counters: bool = False) -> str:
    """The whole table for `iptables-restore`, rules as their planners spell them. Flushes what was there."""
    return _block(table.name, [_declare(chain) for chain in table.chains], _written(table.chains, counters))


def delta(old: Table | None, new: Table | None) -> str:
    """Text for `iptables-restore --noflush` that turns `old` into `new`; "" when nothing differs.

    A chain that differs is written whole: declaring one's own chain empties it, a built-in one needs `-F`. All of
    one table is one transaction, so no packet sees a chain half filled. Stale chains are emptied, then deleted."""
    same = set(map(id, old.chains)) & set(map(id, new.chains)) if old and new else set()
    before = {chain.name: chain for chain in old.chains if id(chain) not in same} if old else {}
    after = {chain.name: chain for chain in new.chains if id(chain) not in same} if new else {}
    builtin = BUILTIN[(new or old or Table(4, "filter")).name]
    stale = [_empty(name) for name in before if name not in after and name not in builtin]
    gone = [_empty(name, "ACCEPT") for name in before if name in builtin and name not in after]
    changed = [c for c in (*after.values(), *gone) if not normal.alike(before.get(c.name), c)]
    if not stale and not changed:
        return ""
    deletions = [f"-X {chain.name}\n" for chain in stale]
    return _block((new or old or Table(4, "filter")).name, [], "".join([_anew(builtin, *changed, *stale), *deletions]))


def _written_anew(builtin: Sequence[str], *chains: Chain) -> str:
    return "".join([_emptied(chain, builtin) + _chain_text(id(chain), chain) for chain in _leaves_first(chains)])


def _emptied(chain: Chain, builtin: Sequence[str]) -> str:
    return f"{_declare(chain)}\n" + (f"-F {chain.name}\n" if chain.name in builtin else "")


@lru_cache(maxsize=256)
def _empty(name: str, policy: str = "-") -> Chain:
    return Chain(name, (), policy)


def _leaves_first(chains: Sequence[Chain]) -> list[Chain]:
    """Each behind those it jumps to, and the last of names first: iptables-nft-restore 1.8 keeps the names that it has
    met in a sorted list, and walks that from the start for every line (nft-cache.c, cache_chain_list_insert)."""
    left = {chain.name: chain for chain in sorted(chains, key=lambda chain: chain.name, reverse=True)}
    ordered = [chain for chain in left.values() if all(rule.target not in left for rule in chain.rules)]
    for chain in ordered:
        del left[chain.name]

    def take(chain: Chain) -> None:
        for rule in chain.rules:
            if target := left.pop(rule.target, None):
                take(target)
        ordered.append(chain)

    while left:
        take(left.pop(next(iter(left))))
    return ordered


def save(table: Table) -> str:
    """The table as `iptables-save` prints it: built-in chains first, one's own by name."""
    own = sorted((chain for chain in table.chains if chain.policy == "-"), key=lambda chain: chain.name)
    given = {chain.name: chain for chain in table.chains}
    builtin = [given.get(name, Chain(name, (), "ACCEPT")) for name in BUILTIN[table.name]]
    lines = (rule("", chain.name, r, table.family) + "\n" for chain in (*builtin, *own) for r in chain.rules)
    return _block(table.name, [_declare(chain) for chain in (*builtin, *own)], "".join(lines))


def rule(table_name: str, chain: str, rule: Rule, family: int = 4) -> str:
    """One rule in `iptables-save`'s spelling; with `-t TABLE` in front when a table is named."""
    table = f"-t {table_name} " if table_name else ""
    return table + normal.echo(chain, rule, family)


def _block(name: str, head: list[str], body: str) -> str:
    return "\n".join((f"*{name}", *head, body + "COMMIT", ""))


def _declare(chain: Chain) -> str:
    return f":{chain.name} {chain.policy} [0:0]"


def _written(chains: Sequence[Chain], counters: bool = False) -> str:
    text = "".join([_chain_text(id(chain), chain) for chain in chains])
    return re.sub(r"^-A", "[0:0] -A", text, flags=re.MULTILINE) if counters else text


#: Of all Nodes mostly the same chains change.
_anew = by_identity(_written_anew, size=8)

#: Nodes share most of their chains, and a chain is rendered once, not once a Node.
_chain_text: Memo[str] = Memo(
    lambda chain: "".join([f"{line(chain.name, rule)}\n" for rule in chain.rules]), size=1 << 16
)
