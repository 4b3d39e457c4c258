"""Switching netfilter's trace on for some packets of a namespace, and off again.

The switch is a table of nf_tables of the trace's own, ahead of all others, and not a rule in iptables' `raw`:
iptables-save does not show it, one command removes it, and it works with either variant of iptables. A kernel without
nf_tables has the legacy variant alone: there the rules are in `raw`, ahead of all others, and known by a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emu.errors import KernelError
from emu.kernel import process
from emu.kernel.netns import Netns
from emu.kernel.tracing_events import NUMBERS, TABLE
from emu.plan.model import IPAddress
from emu.trace.model import Headers

_PRIORITY = -350  # behind defragmentation (-400), ahead of raw (-300)
_HOOKS = ("prerouting", "output")
_ICMP = {4: "icmp", 6: "icmpv6"}
_COMMENT = f"-m comment --comment {TABLE} "
_TOOLS = {4: "iptables-legacy-restore", 6: "ip6tables-legacy-restore"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Packets to be traced. `proto` is a name or number, `dport` 0 any."""

    family: int
    proto: str
    src: IPAddress | None = None
    dst: IPAddress | None = None
    dport: int = 0


def of_flow(proto: str, addresses: Iterable[IPAddress]) -> Iterator[Watched]:
    """The packets from and to the addresses, and ICMP errors to them."""
    for address in sorted(set(addresses), key=str):
        family = address.version
        icmp = _ICMP[family]
        name = icmp if proto.startswith("icmp") else proto
        yield Watched(family=family, proto=name, src=address)
        yield Watched(family=family, proto=name, dst=address)
        if name != icmp:
            yield Watched(family=family, proto=icmp, dst=address)


def of_tunnels(outer: Iterable[Headers]) -> Iterator[Watched]:
    """The packets of tunnels with such outer headers, whatever their source port."""
    for each in dict.fromkeys(outer):
        proto = each.proto if each.dport else str(NUMBERS[each.proto])
        yield Watched(family=each.src.version, proto=proto, src=each.src, dst=each.dst, dport=each.dport)


class NftSwitch:
    def __init__(self, watched: Iterable[Watched]) -> None:
        rules = "\n".join(map(_nft, dict.fromkeys(watched)))
        chains = (
            f"chain {hook} {{ type filter hook {hook} priority {_PRIORITY}; policy accept;\n{rules}\n}}"
            for hook in _HOOKS
        )
        self._script = f"table inet {TABLE} {{\n" + "\n".join(chains) + "\n}\n"

    def on(self, netns: Netns) -> None:
        process.run(["nft", "-f", "-"], ns=netns, stdin=self._script)

    def off(self, netns: Netns) -> None:
        process.run(["nft", "delete", "table", "inet", TABLE], ns=netns)

    def first(self, family: int) -> int:
        """How many rules it puts at the head of `raw`'s chains."""
        return 0


class RawSwitch:
    """Behind the rules that switch tracing on there is one that matches everything and does nothing: the first event
    of each traced packet."""

    def __init__(self, watched: Iterable[Watched]) -> None:
        self._rules: dict[int, list[str]] = {}
        for each in dict.fromkeys(watched):
            self._rules.setdefault(each.family, []).append(f"{_matches(each)}-j TRACE")
        for rules in self._rules.values():
            rules.append("")

    def on(self, netns: Netns) -> None:
        for family, rules in self._rules.items():
            _raw(netns, family, [f"-I {{}} {n} {_COMMENT}{rule}" for n, rule in enumerate(rules, 1)])

    def off(self, netns: Netns) -> None:
        for family, rules in self._rules.items():
            _raw(netns, family, [f"-D {{}} {_COMMENT}{rule}" for rule in rules])

    def first(self, family: int) -> int:
        return len(self._rules.get(family, ()))


Switch = NftSwitch | RawSwitch


def own(line: str) -> bool:
    """Whether a line of iptables-save is a rule of ours."""
    return _COMMENT in f"{line} "


def has_nf_tables(netns: Netns) -> bool:
    """Tried, without changing anything: a kernel may have nf_tables without the tables for IP."""
    try:
        process.run(["nft", "--check", "--file", "-"], ns=netns, stdin=f"table inet {TABLE} {{ }}\n")
    except KernelError:
        return False
    return True


def _nft(watched: Watched) -> str:
    ip = "ip" if watched.family == 4 else "ip6"
    ends = "".join(f"{ip} {end} {at} " for end, at in (("saddr", watched.src), ("daddr", watched.dst)) if at)
    proto = f"{watched.proto} dport {watched.dport}" if watched.dport else f"meta l4proto {watched.proto}"
    return f"{ends}{proto} meta nftrace set 1"


def _matches(watched: Watched) -> str:
    ends = "".join(f"{option} {at} " for option, at in (("-s", watched.src), ("-d", watched.dst)) if at)
    port = f"-m {watched.proto} --dport {watched.dport} " if watched.dport else ""
    return f"{ends}-p {watched.proto} {port}"


def _raw(netns: Netns, family: int, lines: Iterable[str]) -> None:
    text = "".join(f"{line.format(hook.upper())}\n" for hook in _HOOKS for line in lines)
    process.run([_TOOLS[family], "--noflush", "--wait"], ns=netns, stdin=f"*raw\n{text}COMMIT\n")
