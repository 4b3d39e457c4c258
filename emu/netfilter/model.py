"""iptables rules as values: what planners write, what `iptables-save` is parsed into, what prediction evaluates."""

from __future__ import annotations

from dataclasses import dataclass

from emu.addressing import IPAddress


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
    The comment is a match too, and `iptables-save` keeps its place: it stands after `comment_at` of the matches. What
    a rule has beside its first comment stands in `matches`: `Match("comment", "--comment", …)`."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class IpSet:
    """A set that rules ask with `-m set --match-set NAME src`. `type` is ipset's, as `hash:net`; a member is as
    `ipset save` prints it: `10.244.0.0/16`, `10.0.0.1,tcp:80`. `maxelem`: how many it may hold."""

    name: str
    type: str
    family: int  # 4, 6
    members: frozenset[str] = frozenset()
    maxelem: int = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketView:
    """What rules can ask of a packet. `ctstate` may name several: `NEW`, `ESTABLISHED`, `ESTABLISHED,DNAT`,
    `UNTRACKED`; in `raw`, before conntrack, it is empty."""

    src: IPAddress
    dst: IPAddress
    proto: str  # tcp, udp, sctp, icmp, icmp6, ipip
    sport: int = 0
    dport: int = 0
    iif: str = ""
    oif: str = ""
    mark: int = 0
    connmark: int = 0  # of its conntrack entry
    ctstate: str = "NEW"
    is_local_src: bool = False
    is_local_dst: bool = False
    balanced: bool = False  # IPVS has sent it on


#: The kernel's own chains of each table, in the order `iptables-save` lists them. Source: iptables(8), TABLES.
BUILTIN: dict[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
