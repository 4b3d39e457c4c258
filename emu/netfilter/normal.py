"""One spelling for each rule: a rule as written and its echo by `iptables-save` have the same normal form.

The echo moves `-s -d -i -o -p` to the front, adds prefixes, spells marks as `--set-xmark`, prints the statistic
probability as the 31-bit fraction the kernel keeps, and names defaults that were not written (REJECT's type,
recent's mask). The normal form has the echo's order and leaves those defaults out; `echo` names them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from ipaddress import ip_network
from itertools import pairwise, zip_longest

from emu.memo import Memo
from emu.netfilter.line import line
from emu.netfilter.model import Chain, Match, Rule, Table

BASIC_ORDER = ("-s", "-d", "-i", "-o", "-p")
#: Source: iptables extensions/libxt_conntrack.c, conntrack_dump_state.
STATE_ORDER = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")
#: Source: iptables extensions/libxt_recent.c, recent_save.
RECENT_ORDER = ("--set", "--rcheck", "--update", "--remove", "--seconds", "--hitcount", "--reap", "--rttl", "--name")
PORTS_ORDER = ("--sport", "--dport", "--tcp-option", "--tcp-flags")
RPFILTER_ORDER = ("--loose", "--validmark", "--accept-local", "--invert")
OPTION_ORDER = {
    "recent": RECENT_ORDER,
    "rpfilter": RPFILTER_ORDER,
    "tcp": PORTS_ORDER,
    "udp": PORTS_ORDER,
    "sctp": PORTS_ORDER,
}
#: Named by the echo although nobody wrote them, by family.
RECENT_MASK = {4: "255.255.255.255", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
REJECT_WITH = {4: "--reject-with icmp-port-unreachable", 6: "--reject-with icmp6-port-unreachable"}
ALL_BITS = 0xFFFFFFFF
MOVING = ("--save-mark", "--restore-mark")  # of CONNMARK: from the packet to the connection, and back
PROBABILITY_STEPS = 1 << 31


def normal(rule: Rule) -> Rule:
    """The rule's one spelling. Rules that mean the same in two ways (`! ! -s`) are not told apart."""
    basics = sorted((_basic(m) for m in rule.matches if not m.module), key=lambda m: BASIC_ORDER.index(m.option))
    basics = [m for m in basics if not (m.option in ("-s", "-d") and m.value.endswith("/0") and not m.negated)]
    before = [m for m in rule.matches[: rule.comment_at] if m.module]
    after = [m for m in rule.matches[rule.comment_at :] if m.module]
    groups = _groups((*before, *after))
    comment_at = len(basics) + sum(map(len, groups[: len(_groups(tuple(before)))])) if rule.comment else 0
    return Rule(
        matches=(*basics, *(match for group in groups for match in group)),
        target=rule.target,
        target_options=_target_options(rule.target, rule.target_options),
        comment=rule.comment,
        goto=rule.goto,
        comment_at=comment_at,
    )


def _basic(match: Match) -> Match:
    if match.option in ("-s", "-d"):
        return replace(match, value=network(match.value))
    return match


@lru_cache(maxsize=65536)
def network(text: str) -> str:
    """An address or range with its prefix length: `10.0.0.1` → `10.0.0.1/32`."""
    return str(ip_network(text, strict=False))


def _groups(matches: tuple[Match, ...]) -> list[list[Match]]:
    """The options of each opened module together, in the order the modules were opened. A module opened again
    keeps its bare `-m`, which tells its options from the first ones."""
    groups: list[list[Match]] = []
    current: dict[str, list[Match]] = {}
    for match in matches:
        if not match.option or match.module not in current:
            current[match.module] = [Match(match.module)]
            groups.append(current[match.module])
        if match.option:
            current[match.module].append(_option(match))
    seen: set[str] = set()
    return [_group(group, seen) for group in groups]


def _group(group: list[Match], seen: set[str]) -> list[Match]:
    module = group[0].module
    first = module not in seen
    seen.add(module)
    order = OPTION_ORDER.get(module, ())
    options = sorted(filter(_telling, group[1:]), key=lambda m: order.index(m.option) if m.option in order else 99)
    return options if first and options else [group[0], *options]


def _telling(match: Match) -> bool:
    """False for options that only name recent's defaults."""
    return match.option != "--rsource" and not (match.option == "--mask" and match.value in RECENT_MASK.values())


def _option(match: Match) -> Match:
    match match.option:
        case "--ctstate":
            states = set(match.value.upper().split(","))
            return replace(match, value=",".join(state for state in STATE_ORDER if state in states))
        case "--probability":
            return replace(match, value=probability(match.value))
        case "--mark":
            return replace(match, value=_mark(*_value_mask(match.value)))
        case "--syn":
            return replace(match, option="--tcp-flags", value="FIN,SYN,RST,ACK SYN")
        case "--icmp-type":
            return replace(match, value={"echo-request": "8", "echo-reply": "0"}.get(match.value, match.value))
    return match


@lru_cache(maxsize=4096)
def probability(text: str) -> str:
    """As the kernel keeps it and iptables prints it: a fraction of 2^31, eleven digits."""
    return f"{round(float(text) * PROBABILITY_STEPS) / PROBABILITY_STEPS:.11f}"


def _value_mask(text: str) -> tuple[int, int]:
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if mask else ALL_BITS


def _mark(value: int, mask: int) -> str:
    return f"{value:#x}" if mask == ALL_BITS else f"{value:#x}/{mask:#x}"


def xmark(options: str) -> tuple[int, int]:
    """Any spelling of the MARK target → (value, mask) of `--set-xmark`: mark = (mark & ~mask) ^ value."""
    option, text = options.split()
    value, mask = _value_mask(text)
    match option:
        case "--or-mark":
            return value, value
        case "--xor-mark":
            return value, 0
        case "--and-mark":
            return 0, ~value & ALL_BITS
        case "--set-mark":
            return value, value | mask
    return value, mask


def _connmark(options: str) -> str:
    action, nfmask, ctmask = connmark(options)
    if action in MOVING:
        return f"{action} --nfmask {nfmask:#x} --ctmask {ctmask:#x}"
    value, mask = xmark(options)
    return f"--set-xmark {value:#x}/{mask:#x}"


def connmark(options: str) -> tuple[str, int, int]:
    """Any spelling of the CONNMARK target → (action, mask of the packet's mark, mask of the connection's). Of one that
    moves no mark the masks are ALL_BITS: `xmark` reads what it sets."""
    words = options.split()
    given = {option: int(value, 0) for option, value in pairwise(words) if option.endswith("mask")}
    both = given.get("--mask", ALL_BITS)
    return words[0], given.get("--nfmask", both), given.get("--ctmask", both)


@lru_cache(maxsize=65536)
def _target_options(target: str, options: str) -> str:
    if target == "MARK":
        value, mask = xmark(options)
        return f"--set-xmark {value:#x}/{mask:#x}"
    if target == "CONNMARK":
        return _connmark(options)
    if target == "REDIRECT":
        return options.replace("--to-port ", "--to-ports ")
    if target == "REJECT" and options in REJECT_WITH.values():
        return ""
    return options


def echo(chain: str, rule: Rule, family: int) -> str:
    """The rule as `iptables-save` prints it: the normal form, with the defaults it names."""
    form = normal(rule)
    options = REJECT_WITH[family] if form.target == "REJECT" and not form.target_options else form.target_options
    matches = tuple(_named_defaults(form.matches, family))
    grown = len(tuple(_named_defaults(form.matches[: form.comment_at], family)))
    return line(chain, replace(form, matches=matches, target_options=options, comment_at=grown), saved=True)


def _named_defaults(matches: tuple[Match, ...], family: int) -> Iterator[Match]:
    for match in matches:
        yield match
        if match.module == "recent" and match.option == "--name":
            yield Match("recent", "--mask", RECENT_MASK[family])
            yield Match("recent", "--rsource")


@dataclass(frozen=True, slots=True)
class RuleDifference:
    """One rule or chain that is not as it should be, in `iptables-save` text; "" where there is none."""

    table: str
    chain: str
    wanted: str
    got: str

    def __str__(self) -> str:
        if not self.got:
            return f"missing: {self.wanted}"
        return f"not planned: {self.got}" if not self.wanted else f"{self.got}, wanted: {self.wanted}"


_normal_chain: Memo[tuple[Rule, ...]] = Memo(lambda chain: tuple(map(normal, chain.rules)), size=1 << 16)


def rules(chain: Chain) -> tuple[Rule, ...]:
    """The normal forms of a chain's rules, worked out once per chain object."""
    return _normal_chain(id(chain), chain)


def alike(a: Chain | None, b: Chain | None) -> bool:
    """Whether two chains have the same policy and rules, however they are spelled. A built-in chain that is
    empty and accepts is no different from one that is not there."""
    if a is b or (_idle(a) and _idle(b)):
        return True
    if a is None or b is None:
        return False
    return a.policy == b.policy and (a.rules == b.rules or rules(a) == rules(b))


def same(wanted: Table, got: Table) -> list[RuleDifference]:
    """What differs, chain by chain; the order of chains means nothing, the order of rules in a chain does."""
    differences: list[RuleDifference] = []
    left, right = ({chain.name: chain for chain in table.chains} for table in (wanted, got))
    for name in dict.fromkeys((*left, *right)):
        a, b = left.get(name), right.get(name)
        if not alike(a, b):
            differences.extend(_chain_differences(wanted, name, a, b))
    return differences


def _idle(chain: Chain | None) -> bool:
    return chain is None or (chain.policy == "ACCEPT" and not chain.rules)


def _chain_differences(table: Table, name: str, a: Chain | None, b: Chain | None) -> Iterator[RuleDifference]:
    heads = [f":{name} {chain.policy}" if chain else "" for chain in (a, b)]
    unsaid = "" in heads and f":{name} ACCEPT" in heads  # a built-in chain of a table nobody has used yet
    if heads[0] != heads[1] and not unsaid:
        yield RuleDifference(table.name, name, *heads)
    left, right = ([echo(name, r, table.family) for r in chain.rules] if chain else [] for chain in (a, b))
    for tag, a0, a1, b0, b1 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            for wanted, got in zip_longest(left[a0:a1], right[b0:b1], fillvalue=""):
                yield RuleDifference(table.name, name, wanted, got)
