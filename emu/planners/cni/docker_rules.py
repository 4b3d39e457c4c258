"""What dockerd keeps in a host's tables for docker0 and the containers on it.

Source: moby/moby libnetwork/drivers/bridge (setup_ip_tables_linux.go, port_mapping_linux.go; 28:
internal/iptabler), and the tables that integration/network/bridge/iptablesdoc generates from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from emu.memo import Memo
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.model import Hook, IPNetwork, RulesetPart

OWNER = "docker"
BRIDGE = "docker0"


@dataclass(frozen=True, slots=True)
class Published:
    """`-p host_port:port`, on all addresses of the host."""

    protocol: str
    host_port: int
    port: int


@dataclass(frozen=True, slots=True)
class Container:
    address: str
    published: tuple[Published, ...] = ()


def _make(network: IPNetwork, containers: tuple[Container, ...], version: int, userland_proxy: bool) -> RulesetPart:
    filter_chains, forward = (_filter_28 if version >= 28 else _filter_27)(containers)
    nat = Table(4, "nat", (Chain("DOCKER", tuple(_translations(containers, version, userland_proxy))),))
    raw = (_hook("raw", "PREROUTING", rule) for each in containers for rule in _not_from_outside(each, version))
    return RulesetPart(
        owner=OWNER,
        family=4,
        tables=(nat, Table(4, "filter", filter_chains)),
        hooks=(
            *raw,
            *_nat_hooks(network, containers, version, userland_proxy),
            *(_hook("filter", "FORWARD", rule) for rule in forward),
        ),
        # dockerd switches forwarding on, and with it forbids what it did not ask for.
        policies=(("filter", "FORWARD", "DROP"),),
    )


#: (key, network, containers, version, userland_proxy)
part: Memo[RulesetPart] = Memo(_make)


# Matches


def _from(dev: str) -> Match:
    return Match("", "-i", dev)


def _not_from(dev: str) -> Match:
    return Match("", "-i", dev, negated=True)


def _out(dev: str) -> Match:
    return Match("", "-o", dev)


def _not_out(dev: str) -> Match:
    return Match("", "-o", dev, negated=True)


def _source(address: object) -> Match:
    return Match("", "-s", str(address))


def _destination(address: object, negated: bool = False) -> Match:
    return Match("", "-d", str(address), negated)


def _to_port(protocol: str, port: int) -> tuple[Match, Match]:
    return Match("", "-p", protocol), Match(protocol, "--dport", str(port))


_LOCAL = Match("addrtype", "--dst-type", "LOCAL")
_FROM_LOCAL = Match("addrtype", "--src-type", "LOCAL")
_ANSWERS = Match("conntrack", "--ctstate", "RELATED,ESTABLISHED")


def _rule(*matches: Match, to: str, options: str = "") -> Rule:
    return Rule(matches, to, options)


def _hook(table: str, chain: str, rule: Rule) -> Hook:
    return Hook(table=table, chain=chain, rule=rule)


# nat, raw


def _nat_hooks(
    network: IPNetwork, containers: tuple[Container, ...], version: int, userland_proxy: bool
) -> Iterator[Hook]:
    """With the userland proxy it is this that serves 127.0.0.1; without it the kernel must."""
    not_loopback = (_destination("127.0.0.0/8", negated=True),) if userland_proxy else ()
    yield _hook("nat", "PREROUTING", _rule(_LOCAL, to="DOCKER"))
    yield _hook("nat", "OUTPUT", _rule(*not_loopback, _LOCAL, to="DOCKER"))
    if not userland_proxy:
        yield _hook("nat", "POSTROUTING", _rule(_out(BRIDGE), _FROM_LOCAL, to="MASQUERADE"))
    yield _hook("nat", "POSTROUTING", _rule(_source(network), _not_out(BRIDGE), to="MASQUERADE"))
    if version < 28 or not userland_proxy:
        for each in containers:
            for port in each.published:
                to_itself = _source(each.address), _destination(each.address), *_to_port(port.protocol, port.port)
                yield _hook("nat", "POSTROUTING", _rule(*to_itself, to="MASQUERADE"))


def _translations(containers: tuple[Container, ...], version: int, userland_proxy: bool) -> Iterator[Rule]:
    """What comes from docker0 for the host's own port is the userland proxy's."""
    if version < 28 and userland_proxy:
        yield _rule(_from(BRIDGE), to="RETURN")
    elsewhere = (_not_from(BRIDGE),) if userland_proxy else ()
    for each in containers:
        for port in each.published:
            to = f"--to-destination {each.address}:{port.port}"
            yield _rule(*elsewhere, *_to_port(port.protocol, port.host_port), to="DNAT", options=to)


def _not_from_outside(container: Container, version: int) -> Iterator[Rule]:
    """Since 28: who is on the host's network could otherwise route to a container past the published ports."""
    if version >= 28:
        yield _rule(_destination(container.address), _not_from(BRIDGE), to="DROP")


# filter: own chains, and what FORWARD gets


def _published(containers: tuple[Container, ...]) -> Iterator[Rule]:
    for each in containers:
        for port in each.published:
            there = _destination(each.address), _not_from(BRIDGE), _out(BRIDGE)
            yield _rule(*there, *_to_port(port.protocol, port.port), to="ACCEPT")


def _filter_27(containers: tuple[Container, ...]) -> tuple[tuple[Chain, ...], tuple[Rule, ...]]:
    first, second = "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2"
    chains = (
        Chain("DOCKER", tuple(_published(containers))),
        Chain(first, (_rule(_from(BRIDGE), _not_out(BRIDGE), to=second), _rule(to="RETURN"))),
        Chain(second, (_rule(_out(BRIDGE), to="DROP"), _rule(to="RETURN"))),
        Chain("DOCKER-USER", (_rule(to="RETURN"),)),
    )
    forward = (
        _rule(to="DOCKER-USER"),
        _rule(to=first),
        _rule(_out(BRIDGE), _ANSWERS, to="ACCEPT"),
        _rule(_out(BRIDGE), to="DOCKER"),
        _rule(_from(BRIDGE), _not_out(BRIDGE), to="ACCEPT"),
        _rule(_from(BRIDGE), _out(BRIDGE), to="ACCEPT"),
    )
    return chains, forward


def _filter_28(containers: tuple[Container, ...]) -> tuple[tuple[Chain, ...], tuple[Rule, ...]]:
    elsewhere = _rule(_not_from(BRIDGE), _out(BRIDGE), to="DROP")
    onward = ("DOCKER-CT", "DOCKER-INTERNAL", "DOCKER-BRIDGE")
    chains = (
        Chain("DOCKER", (*_published(containers), elsewhere)),
        Chain("DOCKER-BRIDGE", (_rule(_out(BRIDGE), to="DOCKER"),)),
        Chain("DOCKER-CT", (_rule(_out(BRIDGE), _ANSWERS, to="ACCEPT"),)),
        Chain("DOCKER-FORWARD", (*(_rule(to=chain) for chain in onward), _rule(_from(BRIDGE), to="ACCEPT"))),
        Chain("DOCKER-INTERNAL"),
        Chain("DOCKER-USER"),
    )
    return chains, (_rule(to="DOCKER-USER"), _rule(to="DOCKER-FORWARD"))
