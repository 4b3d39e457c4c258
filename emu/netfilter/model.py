"""iptables rules as values: what planners write, what `iptables-save` is parsed into, what prediction evaluates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """One condition, as iptables spells it: `Match("", "-s", "10.0.0.0/8", negated=True)`,
    `Match("conntrack", "--ctstate", "NEW")`, `Match("statistic", "--mode", "random --probability 0.5")`.
    `module` is the `-m` name, "" for the basic `-s -d -p -i -o`; `value` is the text after the option."""

    module: str
    option: str
    value: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a chain; `target` "" counts only. `target_options` is text: `--to-destination 10.0.0.1:80`."""

    matches: tuple[Match, ...] = ()
    target: str = ""
    target_options: str = ""
    comment: str = ""
    goto: bool = False


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
