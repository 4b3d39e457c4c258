"""Whether a rule's matches hold for a packet: 1, 0, or for `statistic` the probability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from emu.errors import PlanError
from emu.netfilter.model import Match, Rule
from emu.netfilter.normal import ALL_BITS

IPAddress = IPv4Address | IPv6Address

IGNORED_MODULES = frozenset({"comment", "physdev"})
IGNORED_OPTIONS = frozenset({"--reap", "--seconds", "--hitcount", "--rttl", "--rsource", "--mask", "--name", "--mode"})
PROTOCOL_MODULES = frozenset({"tcp", "udp", "sctp", "multiport", "icmp", "icmp6"})
PROTOCOL_NAMES = {"ipv6-icmp": "icmp6", "icmpv6": "icmp6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketView:
    """What rules can ask of a packet. `ctstate` may name several: `NEW`, `ESTABLISHED`, `ESTABLISHED,DNAT`."""

    src: IPAddress
    dst: IPAddress
    proto: str  # tcp, udp, sctp, icmp, icmp6
    sport: int = 0
    dport: int = 0
    iif: str = ""
    oif: str = ""
    mark: int = 0
    ctstate: str = "NEW"
    is_local_src: bool = False
    is_local_dst: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the rules alone cannot tell. `is_local`: whether an address is one of this netns (it is asked again after
    DNAT; without it the packet's own `is_local_*` count). `recent`: whether the source stands in that list."""

    is_local: Callable[[IPAddress], bool] | None = None
    recent: Callable[[str], bool] = lambda name: False


def chance(rule: Rule, packet: PacketView, choices: Choices) -> float:
    """The probability that all matches of the rule hold. Raises PlanError for a match nobody can predict."""
    p = 1.0
    for match in rule.matches:
        if not match.option or match.module in IGNORED_MODULES:
            continue
        held = _held(rule, match, packet, choices)
        p *= 1.0 - held if match.negated else held
        if p == 0.0:
            return 0.0
    return p


def _held(rule: Rule, match: Match, packet: PacketView, choices: Choices) -> float:
    if not match.module:
        return _basic(match, packet)
    if match.module in PROTOCOL_MODULES:
        return _ports(match, packet)
    match (match.module, match.option):
        case ("conntrack", "--ctstate") | ("state", "--state"):
            return any(state in packet.ctstate.split(",") for state in match.value.split(","))
        case ("mark", "--mark"):
            value, mask = mark_mask(match.value)
            return packet.mark & mask == value
        case ("addrtype", "--src-type" | "--dst-type"):
            return _address_type(match, packet, choices)
        case ("statistic", "--probability"):
            return float(match.value)
        case ("recent", "--rcheck" | "--update"):
            return choices.recent(_name(rule))
        case ("recent", "--set" | "--remove"):
            return True
        case ("recent" | "statistic", option) if option in IGNORED_OPTIONS and match.value != "nth":
            return True
    raise PlanError(f"unknown match -m {match.module} {match.option} {match.value}".rstrip())


def _name(rule: Rule) -> str:
    return next((m.value for m in rule.matches if m.module == "recent" and m.option == "--name"), "DEFAULT")


def _basic(match: Match, packet: PacketView) -> bool:
    match match.option:
        case "-s":
            return packet.src in _network(match.value)
        case "-d":
            return packet.dst in _network(match.value)
        case "-p":
            return match.value == "all" or PROTOCOL_NAMES.get(match.value, match.value) == packet.proto
        case "-i":
            return _interface(match.value, packet.iif)
        case "-o":
            return _interface(match.value, packet.oif)
    raise PlanError(f"unknown match {match.option}")


@lru_cache(maxsize=65536)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def _interface(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def _ports(match: Match, packet: PacketView) -> bool:
    match match.option:
        case "--dport" | "--dports":
            return _in_ports(match.value, packet.dport)
        case "--sport" | "--sports":
            return _in_ports(match.value, packet.sport)
        case "--ports":
            return _in_ports(match.value, packet.sport) or _in_ports(match.value, packet.dport)
    raise PlanError(f"unknown match -m {match.module} {match.option} {match.value}")


@lru_cache(maxsize=65536)
def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    pairs = (part.partition(":") for part in text.split(","))
    return tuple((int(low or 0), int(high or 65535) if colon else int(low)) for low, colon, high in pairs)


def _in_ports(text: str, port: int) -> bool:
    return any(low <= port <= high for low, high in _ranges(text))


@lru_cache(maxsize=4096)
def mark_mask(text: str) -> tuple[int, int]:
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if mask else ALL_BITS


def _address_type(match: Match, packet: PacketView, choices: Choices) -> bool:
    """Only LOCAL is known. `--limit-iface-*` would narrow it to one interface; `is_local` is asked for the netns."""
    if match.value != "LOCAL":
        raise PlanError(f"unknown address type {match.value}")
    source = match.option == "--src-type"
    if choices.is_local is not None:
        return choices.is_local(packet.src if source else packet.dst)
    return packet.is_local_src if source else packet.is_local_dst
