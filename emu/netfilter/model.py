"""iptables rules as values: what planners write, what `iptables-save` is parsed into, what prediction evaluates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """One option of one match, as iptables spells it: `Match("", "-s", "10.0.0.0/8", negated=True)`,
    `Match("conntrack", "--ctstate", "NEW")`, `Match("statistic", "--probability", "0.5")`.

    `module` is the `-m` name, "" for the basic `-s -d -i -o -p`; `value` is the text after the option. Without an
    option it is a bare `-m module`: it opens that module anew, and later options of the module belong to it."""

    module: str
    option: str = ""
    value: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a chain; `target` "" counts only. `target_options` is text: `--to-destination 10.0.0.1:80`.
    The comment is a match too, and `iptables-save` keeps its place: it stands after `comment_at` of the matches."""

    matches: tuple[Match, ...] = ()
    target: str = ""
    target_options: str = ""
    comment: str = ""
    goto: bool = False
    comment_at: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """`policy` is ACCEPT or DROP for built-in chains and "-" for one's own."""

    name: str
    rules: tuple[Rule, ...] = ()
    policy: str = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of one family, complete: built-in chains and own ones, in the order to be written."""

    family: int  # 4, 6
    name: str  # raw, mangle, nat, filter
    chains: tuple[Chain, ...] = ()

    def chain(self, name: str) -> Chain | None:
        return next((chain for chain in self.chains if chain.name == name), None)


#: The kernel's own chains of each table, in the order `iptables-save` lists them. Source: iptables(8), TABLES.
BUILTIN: dict[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
