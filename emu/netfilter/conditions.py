"""Whether a rule's matches hold for a packet: 1, 0, or for `statistic` the probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from emu.errors import PlanError
from emu.netfilter import sets
from emu.netfilter.model import IPAddress, IpSet, Match, PacketView, Rule
from emu.netfilter.normal import ALL_BITS

IGNORED_MODULES = frozenset({"comment", "physdev"})
LIMITED = {"--limit-iface-in", "--limit-iface-out"}  # of addrtype: they narrow the option beside them
IGNORED_OPTIONS = frozenset({"--reap", "--seconds", "--hitcount", "--rttl", "--rsource", "--mask", "--name", "--mode"})
PROTOCOL_MODULES = frozenset({"tcp", "udp", "sctp", "multiport", "icmp", "icmp6"})
NEIGHBOR_DISCOVERY = range(130, 138)  # and multicast listeners: nobody follows such a packet
PROTOCOL_NAMES = {"ipv6-icmp": "icmp6", "icmpv6": "icmp6", "ipencap": "ipip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the rules alone cannot tell. `is_local`: whether an address is one of this netns (it is asked again after
    DNAT; without it the packet's own `is_local_*` count), `is_local_on`: of one interface. `recent`: whether the source
    stands in that list. `reverse_path`: whether an answer would leave by the interface the packet came by."""

    is_local: Callable[[IPAddress], bool] | None = None
    is_local_on: Callable[[str, IPAddress], bool] | None = None
    recent: Callable[[str], bool] = lambda name: False
    reverse_path: Callable[[PacketView], bool] | None = None
    sets: Mapping[str, IpSet] = field(default_factory=dict)


def chance(rule: Rule, packet: PacketView, choices: Choices) -> float:
    """The probability that all matches of the rule hold. Raises PlanError for a match nobody can predict."""
    p = 1.0
    for match in rule.matches:
        if not match.option or match.module in IGNORED_MODULES or match.option in LIMITED:
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
        case ("connmark", "--mark"):
            value, mask = mark_mask(match.value)
            return packet.connmark & mask == value
        case ("addrtype", "--src-type" | "--dst-type"):
            return _address_type(rule, match, packet, choices)
        case ("set", "--match-set"):
            return _in_set(match, packet, choices)
        case ("rpfilter", option):
            return _reverse_path(rule, option, packet, choices)
        case ("socket", "--transparent"):
            return False  # a proxy's, for packets that are another's (IP_TRANSPARENT): there is none
        case ("ipvs", "--ipvs"):
            return packet.balanced
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
        case "--icmpv6-type" if int(match.value) in NEIGHBOR_DISCOVERY:
            return False
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


def _address_type(rule: Rule, match: Match, packet: PacketView, choices: Choices) -> bool:
    """Only LOCAL is known."""
    if match.value != "LOCAL":
        raise PlanError(f"unknown address type {match.value}")
    source = match.option == "--src-type"
    address = packet.src if source else packet.dst
    if limit := _limit(rule, match):
        if choices.is_local_on is None:
            raise PlanError(f"nobody knows the addresses of one interface, for {limit}")
        return choices.is_local_on(packet.oif if limit == "--limit-iface-out" else packet.iif, address)
    if choices.is_local is not None:
        return choices.is_local(address)
    return packet.is_local_src if source else packet.is_local_dst


def _limit(rule: Rule, match: Match) -> str:
    """The `--limit-iface-…` that stands with this option, before the module is opened anew."""
    for after in rule.matches[rule.matches.index(match) + 1 :]:
        if after.module != match.module or not after.option:
            break
        if after.option in LIMITED:
            return after.option
    return ""


def _in_set(match: Match, packet: PacketView, choices: Choices) -> bool:
    name, directions = match.value.split()
    if name not in choices.sets:
        raise PlanError(f"there is no set {name}")
    return sets.holds(choices.sets[name], directions, packet)


def _reverse_path(rule: Rule, option: str, packet: PacketView, choices: Choices) -> bool:
    """The match has no option that says what it does, but one that says the contrary: it is asked with the last."""
    options = [match.option for match in rule.matches if match.module == "rpfilter" and match.option]
    if option != options[-1]:
        return True
    if choices.reverse_path is None:
        raise PlanError("nobody knows the way back, for -m rpfilter")
    return choices.reverse_path(packet) != ("--invert" in options)
