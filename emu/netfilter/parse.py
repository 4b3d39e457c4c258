"""iptables text → rules. Reads what planners write, what `iptables-save` prints and what `xtables-monitor` shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emu.errors import PlanError
from emu.netfilter.line import quoted
from emu.netfilter.model import Chain, Match, Rule, Table

TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
ESCAPED = re.compile(r"\\(.)")
PROTOCOLS = {
    "4": "ipencap",
    "ipv4": "ipencap",
    "6": "tcp",
    "17": "udp",
    "132": "sctp",
    "1": "icmp",
    "58": "ipv6-icmp",
    "icmpv6": "ipv6-icmp",
}

#: Long and old spellings of the basic options and of those that live in several modules.
SPELLINGS = {
    "--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--protocol": "-p", "--proto": "-p",
    "--in-interface": "-i", "--out-interface": "-o", "--jump": "-j", "--goto": "-g", "--match": "-m",
    "--destination-port": "--dport", "--source-port": "--sport",
    "--destination-ports": "--dports", "--source-ports": "--sports",
}  # fmt: skip
BASIC = frozenset({"-s", "-d", "-i", "-o", "-p"})
#: Options of the protocol's own match: iptables loads it without an `-m` when `-p` names the protocol.
PROTOCOL_OPTIONS = frozenset({"--dport", "--sport", "--tcp-flags", "--syn", "--icmp-type", "--icmpv6-type"})
PROTOCOL_MODULES = {"ipv6-icmp": "icmp6"}
#: Options that take one word, whatever it looks like; others take words up to the next option.
ONE_WORD = frozenset({"--comment", "--name", *BASIC})


def tokens(line: str) -> list[str]:
    """The words of a line; quotes and backslashes as iptables-restore reads them."""
    return [ESCAPED.sub(r"\1", quoted) if word == "" else word for quoted, word in TOKEN.findall(line)]


def rule(line: str) -> tuple[str, Rule]:
    """`-A CHAIN …` → (chain, rule). Packet counters in front, `-4`, `-6` and `-t TABLE` are passed over."""
    words = tokens(line)
    try:
        start = words.index("-A")
        return words[start + 1], _Reader(words[start + 2 :]).rule()
    except (ValueError, IndexError):
        raise PlanError(f"not an iptables rule: {line!r}", hint="a rule looks like -A CHAIN … -j TARGET") from None


class _Reader:
    """One pass over the words behind `-A CHAIN`."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.at = words, 0
        self.module, self.protocol = "", ""
        self.matches: list[Match] = []
        self.comment, self.comment_at = "", 0

    def rule(self) -> Rule:
        target, options, goto = "", "", False
        while self.at < len(self.words):
            negated = self.words[self.at] == "!"
            self.at += negated
            option = self._spelling()
            self.at += 1
            if option in ("-j", "-g"):
                target, options = self.words[self.at], " ".join(map(quoted, self.words[self.at + 1 :]))
                goto = option == "-g"
                break
            self._match(option, negated)
        matches, comment_at = self._settled()
        return Rule(matches, target, options, self.comment, goto, comment_at)

    def _spelling(self) -> str:
        return SPELLINGS.get(self.words[self.at], self.words[self.at])

    def _match(self, option: str, negated: bool) -> None:
        if option == "-m":
            self.module = self._value(option)
            if self.module != "comment":
                self.matches.append(Match(self.module))
        elif option == "--comment" and self.comment:
            self.matches.append(Match("comment", option, self._value(option)))
        elif option == "--comment":
            self.comment, self.comment_at = self._value(option), len(self.matches)
        elif option in BASIC:
            value = self._value(option)
            if option == "-p":
                value = self.protocol = PROTOCOLS.get(value.lower(), value.lower())
            self.matches.append(Match("", option, value, negated))
        else:
            self.matches.append(Match(self.module, option, self._value(option), negated))

    def _value(self, option: str) -> str:
        start = self.at
        if option in ONE_WORD or option == "-m":
            self.at += 1
        else:
            while self.at < len(self.words) and self.words[self.at] != "!" and self.words[self.at][0] != "-":
                self.at += 1
        return " ".join(self.words[start : self.at])

    def _settled(self) -> tuple[tuple[Match, ...], int]:
        """Without the `-m` of modules whose option follows at once, and where the comment stands then."""
        own = PROTOCOL_MODULES.get(self.protocol, self.protocol)
        opened: set[str] = set()
        kept, before_comment = [], 0
        for index, match in enumerate(self.matches):
            if match.option in PROTOCOL_OPTIONS and match.module != own:
                match = Match(own, match.option, match.value, match.negated)
            implied = not match.option and match.module not in opened and self._follows(index)
            opened.add(match.module)
            if not implied:
                kept.append(match)
                before_comment += index < self.comment_at
        return tuple(kept), before_comment

    def _follows(self, index: int) -> bool:
        """Whether the next match is an option of the module that is opened here."""
        after = self.matches[index + 1 : index + 2]
        return bool(after) and after[0].module == self.matches[index].module and bool(after[0].option)


def save(text: str, family: int) -> tuple[Table, ...]:
    """`iptables-save` output, or restore text → its tables. Chains keep the order they are declared in."""
    return tuple(_table(block, family) for block in _blocks(text))


def _blocks(text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("*"):
            block = [line]
        elif line == "COMMIT":
            yield block
        elif line and not line.startswith("#"):
            block.append(line)


def _table(block: list[str], family: int) -> Table:
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    for line in block[1:]:
        if line.startswith(":"):
            name, policy = line[1:].split()[:2]
            policies[name], rules[name] = policy, []
        else:
            chain, read = rule(line)
            rules[chain].append(read)
    chains = tuple(Chain(name, tuple(rules[name]), policy) for name, policy in policies.items())
    return Table(family, block[0][1:], chains)
