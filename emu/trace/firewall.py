"""A packet at a netfilter hook: rules, conntrack, NAT, and which of them to name as the cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from emu.netfilter import text
from emu.netfilter.evaluate import Choices, Matched, Outcome, PacketView, walk
from emu.netfilter.model import Table
from emu.plan.model import IPAddress
from emu.trace import conntrack
from emu.trace.changed import connection_marked, endpoint, marked, redirected, ttl_set
from emu.trace.conntrack import Conntrack, Entry, tuple_of
from emu.trace.model import Cause, CauseKind
from emu.trace.packet import Packet
from emu.trace.world import Machine

UNTRACKED = "UNTRACKED"
DESTINATION_HOOKS = ("PREROUTING", "OUTPUT")
Choose = Callable[[Sequence[float]], int]


@dataclass(frozen=True, slots=True)
class At:
    """A hook in a netns. `next_hop`: where MASQUERADE looks for its address."""

    hook: str
    iif: str = ""
    oif: str = ""
    next_hop: IPAddress | None = None


@dataclass(slots=True)
class Firewall:
    """All netns' conntrack for one flow; `choose` picks one of several outcomes by their probabilities."""

    choose: Choose
    tracked: dict[str, Conntrack] = field(default_factory=dict)

    def pass_through(self, machine: Machine, packet: Packet, at: At) -> tuple[Outcome | None, list[Cause]]:
        """Rewrites the packet. The outcome is None where no rules are (and nothing is tracked)."""
        if not machine.plan.tables:
            return None, []
        raw, rest = _parted(machine.plan.tables)
        first = self._before_conntrack(machine, raw, packet, at)
        if first is not None and first.verdict != "ACCEPT":
            return first, [_cause(machine, packet, matched) for matched in telling(machine, first.matched)]
        self._track(machine, packet)
        causes = _rewritten(machine, packet, at) if at.hook in DESTINATION_HOOKS else []
        outcome = self._rules(machine, rest, packet, at, _state(packet))
        if first is not None:
            outcome = replace(outcome, matched=(*first.matched, *outcome.matched))
        packet.mark = outcome.mark
        packet.headers = replace(packet.headers, ttl=packet.headers.ttl + outcome.ttl_raised)
        if packet.entry is not None:
            packet.entry.mark = outcome.packet.connmark
        if packet.entry is not None and not packet.reply and packet.about is None:
            _translate(packet.entry, machine, packet, at, outcome)
        causes += [_cause(machine, packet, matched) for matched in telling(machine, outcome.matched)]
        if outcome.verdict == "ACCEPT":
            causes += _rewritten(machine, packet, at, told=_translates(outcome))
        return outcome, causes

    def _before_conntrack(self, machine: Machine, raw: Sequence[Table], packet: Packet, at: At) -> Outcome | None:
        """The `raw` table, which may keep conntrack from the packet."""
        if not raw or at.hook not in DESTINATION_HOOKS:
            return None
        outcome = self._rules(machine, raw, packet, at, "")
        packet.mark = outcome.mark
        packet.untracked = packet.untracked or outcome.packet.ctstate == UNTRACKED
        return outcome

    def _track(self, machine: Machine, packet: Packet) -> None:
        if packet.entry is not None or packet.untracked:
            return
        table = self.tracked.setdefault(machine.name, Conntrack())
        one = tuple_of(packet.about).inverse() if packet.about else tuple_of(packet.headers)
        packet.entry, packet.reply = table.find(one)
        if packet.entry is None and packet.about is None:
            packet.entry = table.track(one)

    def _rules(self, machine: Machine, tables: Sequence[Table], packet: Packet, at: At, state: str) -> Outcome:
        headers = packet.headers
        view = PacketView(
            src=headers.src,
            dst=headers.dst,
            proto=headers.proto,
            sport=headers.sport,
            dport=headers.dport,
            iif=at.iif,
            oif=at.oif,
            mark=packet.mark,
            connmark=packet.entry.mark if packet.entry else 0,
            ctstate=state,
            balanced=packet.entry is not None and packet.entry.balanced,
        )
        asked = [table for table in tables if table.name != "nat" or _asks_nat(packet, at)]
        outcomes = tuple(walk(asked, at.hook, view, _choices(machine)))
        return outcomes[self.choose([outcome.probability for outcome in outcomes])]


def _parted(tables: Sequence[Table]) -> tuple[list[Table], list[Table]]:
    """`raw`, which stands before conntrack, and those behind."""
    return [table for table in tables if table.name == "raw"], [table for table in tables if table.name != "raw"]


def _choices(machine: Machine) -> Choices:
    return Choices(
        is_local=machine.is_local,
        is_local_on=machine.bears,
        reverse_path=lambda packet: machine.goes_back(packet.src, packet.iif, packet.mark),
        sets=machine.sets,
    )


def _asks_nat(packet: Packet, at: At) -> bool:
    """Only a flow's first packet crosses the nat table, and each way of rewriting is decided once. Protocol 4 has no
    ports: all that a Node ever sends another by IPIP is one flow, which may have begun before."""
    entry = packet.entry
    if entry is None or packet.reply or packet.about or packet.headers.proto == "ipip":
        return False
    return not (entry.destination_decided if at.hook in DESTINATION_HOOKS else entry.source_decided)


def _state(packet: Packet) -> str:
    entry = packet.entry
    if packet.untracked:
        return UNTRACKED
    if packet.about:
        return "RELATED" if entry else "INVALID"
    assert entry is not None
    nat = [name for name, on in (("DNAT", entry.dnat and not entry.balanced), ("SNAT", entry.snat)) if on]
    return ",".join(["ESTABLISHED" if packet.reply else "NEW", *nat])


def _translate(entry: Entry, machine: Machine, packet: Packet, at: At, outcome: Outcome) -> None:
    if outcome.dnat:
        conntrack.destination_nat(entry, *outcome.dnat)
    if outcome.redirect >= 0 and (own := machine.own_on(at.iif, packet.headers.dst.version)):
        conntrack.destination_nat(entry, own, outcome.redirect)
    if outcome.snat:
        conntrack.source_nat(entry, outcome.snat[0], outcome.snat[1] or _port(packet, outcome))
    elif outcome.masquerade:
        address = machine.address_on(at.oif, packet.headers.dst, at.next_hop)
        if address is not None:
            conntrack.source_nat(entry, address, _port(packet, outcome))
    if at.hook in DESTINATION_HOOKS:
        entry.destination_decided = True
    elif at.hook in ("POSTROUTING", "INPUT"):
        entry.source_decided = True


def _translates(outcome: Outcome) -> bool:
    return bool(outcome.dnat or outcome.snat or outcome.masquerade or outcome.redirect >= 0)


def _port(packet: Packet, outcome: Outcome) -> int:
    return conntrack.ANY_PORT if outcome.random_port else packet.headers.sport


def _rewritten(machine: Machine, packet: Packet, at: At, told: bool = False) -> list[Cause]:
    """Applies the entry's NAT; names the entry as the cause unless a rule has just been named (`told`)."""
    if packet.entry is None or at.hook == "FORWARD":
        return []
    destination = at.hook in DESTINATION_HOOKS
    rewrite = conntrack.rewrite_destination if destination else conntrack.rewrite_source
    before = packet.headers
    if packet.about is None:
        packet.headers = rewrite(packet.entry, before, packet.reply)
    elif packet.reply:
        packet.headers, packet.about = conntrack.rewrite_error(packet.entry, before, packet.about, rewrite, destination)
    after = packet.headers
    if told or before == after:
        return []
    shown = ("destination", after.dst, after.dport) if destination else ("source", after.src, after.sport)
    effect = f"{shown[0]} {'back to' if packet.reply else 'becomes'} {endpoint(*shown[1:])}"
    return [Cause(kind=CauseKind.CONNTRACK, netns=machine.name, text=str(packet.entry), effect=effect)]


def telling(machine: Machine, matched: Sequence[Matched]) -> list[Matched]:
    """The rules that did something, and the jumps that led to them; not those a packet came back from unchanged."""
    own = {(table.name, chain.name) for table in machine.plan.tables for chain in table.chains}
    wanted: set[tuple[str, str]] = set()
    kept = []
    for each in reversed(matched):
        calls = (each.table, each.rule.target)
        if each.rule.target in ("RETURN", "") or (calls in own and calls not in wanted):
            continue
        wanted.discard(calls)
        wanted.add((each.table, each.chain))
        kept.append(each)
    return kept[::-1]


def _cause(machine: Machine, packet: Packet, matched: Matched) -> Cause:
    line = text.rule(matched.table, matched.chain, matched.rule, packet.headers.dst.version)
    return Cause(kind=CauseKind.RULE, netns=machine.name, text=line, effect=_effect(matched, packet))


def _effect(matched: Matched, packet: Packet) -> str:
    rule, entry = matched.rule, packet.entry
    match rule.target:
        case "DNAT":
            return f"DNAT to {rule.target_options.split()[-1]}"
        case "REDIRECT":
            return redirected(rule.target_options)
        case "MASQUERADE" | "SNAT":
            return f"source becomes {entry.expected.dst}" if entry else ""
        case "MARK":
            return marked(rule.target_options)
        case "CONNMARK":
            return connection_marked(rule.target_options)
        case "TTL":
            return ttl_set(rule.target_options)
        case "NOTRACK":
            return "not tracked"
        case "ACCEPT" | "DROP" | "REJECT":
            return rule.target.lower()
    return ""
