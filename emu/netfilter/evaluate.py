"""What a table set does with a packet, worked out from the rules alone: every outcome with its probability.

The walk goes through a hook's tables as the kernel does: raw, (conntrack), mangle, nat, filter, each seeing what the
one before has rewritten. Random rules (`statistic`) part the packet into branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address

from emu.addressing import IPAddress
from emu.errors import PlanError
from emu.netfilter.conditions import Choices, PacketView, chance
from emu.netfilter.model import Chain, Rule, Table
from emu.netfilter.normal import connmark, echo, xmark

__all__ = ["HOOKS", "Choices", "Matched", "Outcome", "PacketView", "walk"]


#: Tables of each hook in the order the kernel calls them. Source: include/uapi/linux/netfilter_ipv4.h,
#: enum nf_ip_hook_priorities (raw -300, conntrack -200, mangle -150, dstnat -100, filter 0, srcnat 100).
HOOKS: dict[str, tuple[str, ...]] = {
    "PREROUTING": ("raw", "mangle", "nat"),
    "INPUT": ("mangle", "filter", "nat"),
    "FORWARD": ("mangle", "filter"),
    "OUTPUT": ("raw", "mangle", "nat", "filter"),
    "POSTROUTING": ("mangle", "nat"),
}
MAX_DEPTH = 64  # nested jumps; the kernel refuses loops when a table is loaded
_LOOPBACK: dict[int, IPAddress] = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}
PASSING = frozenset({"", "LOG", "NFLOG", "TRACE", "CT", "CHECKSUM"})  # the packet goes on to the next rule


@dataclass(frozen=True, slots=True)
class Matched:
    """A rule that matched."""

    table: str
    chain: str
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One way it can end. `packet` is the packet behind the hook, rewritten by DNAT and marks, not by SNAT: the
    source changes last of all, and for `masquerade` the address is the outgoing device's, which rules do not know."""

    verdict: str  # ACCEPT, DROP, REJECT
    packet: PacketView
    probability: float = 1.0
    matched: tuple[Matched, ...] = ()
    dnat: tuple[IPAddress, int] | None = None  # port 0: kept
    snat: tuple[IPAddress, int] | None = None
    masquerade: bool = False
    redirect: int = (
        -1
    )  # to this port of the incoming device's own address, which rules do not know; 0: kept; -1: not so
    random_port: bool = False  # --random-fully: the source port is new
    reject_with: str = ""
    ttl_raised: int = 0

    @property
    def mark(self) -> int:
        return self.packet.mark


@dataclass(frozen=True, slots=True)
class _Step:
    """The outcome so far, and what the last rule decided for this table; "" while it goes on."""

    outcome: Outcome
    end: str = ""


def walk(tables: Sequence[Table], hook: str, packet: PacketView, choices: Choices = Choices()) -> Iterator[Outcome]:  # noqa: B008
    """All outcomes of the packet at the hook, most specific branch first; probabilities add up to 1.
    The nat table is consulted only when `packet.ctstate` has NEW: later packets follow their conntrack entry."""
    by_name = {table.name: table for table in tables if table.family == packet.dst.version}
    steps = [_Step(Outcome(verdict="ACCEPT", packet=packet))]
    for name in HOOKS[hook]:
        table = by_name.get(name)
        if table is None or (name == "nat" and "NEW" not in packet.ctstate.split(",")):
            continue
        walker = _Walker(table, choices)
        steps = [after for step in steps for after in ([step] if step.end else walker.table_at(hook, step.outcome))]
    yield from (step.outcome for step in steps)


class _Walker:
    """Goes through one table. A chain maps an outcome to steps: ended (`end` set) or returned to the caller."""

    def __init__(self, table: Table, choices: Choices) -> None:
        self.table, self.choices = table, choices
        self.chains = {chain.name: chain for chain in table.chains}

    def table_at(self, hook: str, outcome: Outcome) -> Iterator[_Step]:
        chain = self.chains.get(hook)
        if chain is None:
            yield _Step(outcome)
            return
        for step in self._chain(chain, outcome, 0):
            verdict = step.end or chain.policy
            if verdict in ("DROP", "REJECT"):
                yield _Step(replace(step.outcome, verdict=verdict), verdict)
            else:
                yield _Step(step.outcome)

    def _chain(self, chain: Chain, outcome: Outcome, depth: int) -> Iterator[_Step]:
        if depth > MAX_DEPTH:
            raise PlanError(f"chain {chain.name} of table {self.table.name} jumps in a loop")
        going = [outcome]
        for rule in chain.rules:
            nexts: list[Outcome] = []
            for branch in going:
                p = self._chance(chain, rule, branch.packet)
                if p < 1.0:
                    nexts.append(_thinned(branch, 1.0 - p))
                if p > 0.0:
                    taken = _thinned(branch, p)
                    hit = replace(taken, matched=(*taken.matched, Matched(self.table.name, chain.name, rule)))
                    for step in self._target(chain, rule, hit, depth):
                        if step.end == "continue":
                            nexts.append(step.outcome)
                        else:
                            yield step
            going = nexts
            if not going:
                return
        yield from map(_Step, going)

    def _chance(self, chain: Chain, rule: Rule, packet: PacketView) -> float:
        try:
            return chance(rule, packet, self.choices)
        except PlanError as error:
            text = f"-t {self.table.name} {echo(chain.name, rule, self.table.family)}"
            raise PlanError(f"cannot tell what this rule does: {text}: {error.message}") from error

    def _target(self, chain: Chain, rule: Rule, hit: Outcome, depth: int) -> Iterator[_Step]:
        called = self.chains.get(rule.target)
        if called is not None:
            for step in self._chain(called, hit, depth + 1):
                yield step if step.end or rule.goto else _Step(step.outcome, "continue")
        elif rule.target == "RETURN":
            yield _Step(hit)
        else:
            yield self._verdict(chain, rule, hit)

    def _verdict(self, chain: Chain, rule: Rule, hit: Outcome) -> _Step:
        match rule.target:
            case "ACCEPT" | "DROP":
                return _Step(hit, rule.target)
            case "REJECT":
                return _Step(replace(hit, reject_with=rule.target_options.removeprefix("--reject-with ")), "REJECT")
            case "MARK":
                value, mask = xmark(rule.target_options)
                return _Step(replace(hit, packet=replace(hit.packet, mark=hit.packet.mark & ~mask ^ value)), "continue")
            case "CONNMARK":
                return _Step(replace(hit, packet=_with_connmark(hit.packet, rule.target_options)), "continue")
            case "TTL" if rule.target_options.startswith("--ttl-inc "):
                raised = hit.ttl_raised + int(rule.target_options.split()[1])
                return _Step(replace(hit, ttl_raised=raised), "continue")
            case "MASQUERADE":
                return _Step(replace(hit, masquerade=True, random_port="random" in rule.target_options), "ACCEPT")
            case "DNAT":
                return _Step(_dnat(hit, *_destination(rule.target_options, "--to-destination")), "ACCEPT")
            case "REDIRECT":
                return _Step(_redirect(hit), "ACCEPT")
            case "SNAT":
                to = _destination(rule.target_options, "--to-source")
                return _Step(replace(hit, snat=to, random_port="random" in rule.target_options), "ACCEPT")
            case "CT" | "NOTRACK" if rule.target == "NOTRACK" or "--notrack" in rule.target_options.split():
                return _Step(replace(hit, packet=replace(hit.packet, ctstate="UNTRACKED")), "continue")
            case target if target in PASSING:
                return _Step(hit, "continue")
        text = f"-t {self.table.name} {echo(chain.name, rule, self.table.family)}"
        raise PlanError(f"cannot tell what this rule does: {text}: unknown target {rule.target}")


def _with_connmark(packet: PacketView, options: str) -> PacketView:
    """Source: Linux net/netfilter/xt_connmark.c, connmark_tg_shift."""
    action, nfmask, ctmask = connmark(options)
    match action:
        case "--restore-mark":
            return replace(packet, mark=packet.mark & ~nfmask ^ packet.connmark & ctmask)
        case "--save-mark":
            return replace(packet, connmark=packet.connmark & ~ctmask ^ packet.mark & nfmask)
    value, mask = xmark(options)
    return replace(packet, connmark=packet.connmark & ~mask ^ value)


def _thinned(outcome: Outcome, p: float) -> Outcome:
    return outcome if p == 1.0 else replace(outcome, probability=outcome.probability * p)


def _dnat(hit: Outcome, address: IPAddress, port: int) -> Outcome:
    states = ",".join(dict.fromkeys((*hit.packet.ctstate.split(","), "DNAT")))
    packet = replace(hit.packet, dst=address, dport=port or hit.packet.dport, ctstate=states, is_local_dst=False)
    return replace(hit, packet=packet, dnat=(address, port))


def _redirect(hit: Outcome) -> Outcome:
    """A packet made here goes to 127.0.0.1. Source: Linux net/netfilter/nf_nat_redirect.c."""
    port = redirected(hit.matched[-1].rule.target_options)
    if hit.packet.iif:
        return replace(hit, redirect=port)
    return _dnat(hit, _LOOPBACK[hit.packet.dst.version], port)


def redirected(options: str) -> int:
    """`--to-ports 80` → 80; 0 without it."""
    option, _, text = options.partition(" ")
    if option not in ("", "--to-ports", "--to-port") or (option and not text.isdigit()):
        raise PlanError(f"{options}: only one port can be predicted")
    return int(text or 0)


@lru_cache(maxsize=65536)
def _destination(options: str, option: str) -> tuple[IPAddress, int]:
    """`--to-destination 10.0.0.1:80`, `[fd00::1]:80`, `10.0.0.1` → address and port (0: none)."""
    words = options.split()
    text = words[words.index(option) + 1]
    address, _, port = text.rpartition(":") if ("." in text and ":" in text) or text.startswith("[") else (text, "", "")
    if text.endswith("]"):
        address, port = text, ""
    try:
        return ip_address(address.strip("[]")), int(port or 0)
    except ValueError:
        raise PlanError(f"{option} {text}: only one address and port can be predicted") from None
