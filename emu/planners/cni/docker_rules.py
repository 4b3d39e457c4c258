"""What dockerd keeps in a host's tables for its bridges (docker0, docker_gwbridge) and the containers on them.

Source: moby/moby libnetwork/drivers/bridge (setup_ip_tables_linux.go, port_mapping_linux.go; 28:
internal/iptabler), and the tables that integration/network/bridge/iptablesdoc generates from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from emu.memo import Memo
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.model import Hook, IPNetwork, RulesetPart

OWNER = "docker"


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


@dataclass(frozen=True, slots=True)
class Bridge:
    """`icc`: containers on it may talk to each other."""

    name: str
    network: IPNetwork
    containers: tuple[Container, ...] = ()
    icc: bool = True


def _make(bridges: tuple[Bridge, ...], version: int, userland_proxy: bool, first: tuple[str, ...] = ()) -> RulesetPart:
    """`bridges` in the order they were made. `first`: of 28, chains of others that DOCKER-FORWARD begins with."""
    filter_chains, forward = _filter_28(bridges, first) if version >= 28 else _filter_27(bridges)
    translations = (rule for each in bridges for rule in _translations(each, version, userland_proxy))
    nat = Table(4, "nat", (Chain("DOCKER", tuple(translations)),))
    raw = (
        _hook("raw", "PREROUTING", rule)
        for bridge in bridges
        for each in bridge.containers
        for rule in _not_from_outside(bridge, each, version)
    )
    return RulesetPart(
        owner=OWNER,
        family=4,
        tables=(nat, Table(4, "filter", filter_chains)),
        hooks=(
            *raw,
            *_nat_hooks(bridges, version, userland_proxy),
            *(_hook("filter", "FORWARD", rule) for rule in forward),
        ),
        # dockerd switches forwarding on, and with it forbids what it did not ask for.
        policies=(("filter", "FORWARD", "DROP"),),
    )


#: (key, bridges, version, userland_proxy), and first if there are any
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


def _nat_hooks(bridges: tuple[Bridge, ...], version: int, userland_proxy: bool) -> Iterator[Hook]:
    """With the userland proxy it is this that serves 127.0.0.1; without it the kernel must."""
    not_loopback = (_destination("127.0.0.0/8", negated=True),) if userland_proxy else ()
    yield _hook("nat", "PREROUTING", _rule(_LOCAL, to="DOCKER"))
    yield _hook("nat", "OUTPUT", _rule(*not_loopback, _LOCAL, to="DOCKER"))
    for bridge in reversed(bridges):  # each is put before those of older bridges
        if not userland_proxy:
            yield _hook("nat", "POSTROUTING", _rule(_out(bridge.name), _FROM_LOCAL, to="MASQUERADE"))
        masquerade = _rule(_source(bridge.network), _not_out(bridge.name), to="MASQUERADE")
        yield _hook("nat", "POSTROUTING", masquerade)
    if version < 28 or not userland_proxy:
        for each in (container for bridge in bridges for container in bridge.containers):
            for port in each.published:
                to_itself = _source(each.address), _destination(each.address), *_to_port(port.protocol, port.port)
                yield _hook("nat", "POSTROUTING", _rule(*to_itself, to="MASQUERADE"))


def _translations(bridge: Bridge, version: int, userland_proxy: bool) -> Iterator[Rule]:
    """What comes from the bridge for the host's own port is the userland proxy's."""
    if version < 28 and userland_proxy:
        yield _rule(_from(bridge.name), to="RETURN")
    elsewhere = (_not_from(bridge.name),) if userland_proxy else ()
    for each in bridge.containers:
        for port in each.published:
            to = f"--to-destination {each.address}:{port.port}"
            yield _rule(*elsewhere, *_to_port(port.protocol, port.host_port), to="DNAT", options=to)


def _not_from_outside(bridge: Bridge, container: Container, version: int) -> Iterator[Rule]:
    """Since 28: who is on the host's network could otherwise route to a container past the published ports."""
    if version >= 28:
        yield _rule(_destination(container.address), _not_from(bridge.name), to="DROP")


# filter: own chains, and what FORWARD gets


def _published(bridge: Bridge) -> Iterator[Rule]:
    for each in bridge.containers:
        for port in each.published:
            there = _destination(each.address), _not_from(bridge.name), _out(bridge.name)
            yield _rule(*there, *_to_port(port.protocol, port.port), to="ACCEPT")


def _filter_27(bridges: tuple[Bridge, ...]) -> tuple[tuple[Chain, ...], tuple[Rule, ...]]:
    first, second = "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2"
    leaving = (_rule(_from(each.name), _not_out(each.name), to=second) for each in bridges)
    entering = (_rule(_out(each.name), to="DROP") for each in bridges)
    chains = (
        Chain("DOCKER", tuple(rule for each in bridges for rule in _published(each))),
        Chain(first, (*leaving, _rule(to="RETURN"))),
        Chain(second, (*entering, _rule(to="RETURN"))),
        Chain("DOCKER-USER", (_rule(to="RETURN"),)),
    )
    return chains, (_rule(to="DOCKER-USER"), _rule(to=first), *(rule for each in bridges for rule in _forward_27(each)))


def _forward_27(bridge: Bridge) -> Iterator[Rule]:
    name = bridge.name
    yield _rule(_out(name), _ANSWERS, to="ACCEPT")
    yield _rule(_out(name), to="DOCKER")
    yield _rule(_from(name), _not_out(name), to="ACCEPT")
    yield _rule(_from(name), _out(name), to="ACCEPT" if bridge.icc else "DROP")


def _filter_28(
    bridges: tuple[Bridge, ...], first: tuple[str, ...]
) -> tuple[tuple[Chain, ...], tuple[Rule, ...]]:  # fmt: skip
    onward = (_rule(to=chain) for chain in (*first, "DOCKER-CT", "DOCKER-INTERNAL", "DOCKER-BRIDGE"))
    published = (rule for each in bridges for rule in _published(each))
    elsewhere = (_rule(_not_from(each.name), _out(each.name), to="DROP") for each in bridges)
    chains = (
        Chain("DOCKER", (*published, *elsewhere)),
        Chain("DOCKER-BRIDGE", tuple(_rule(_out(each.name), to="DOCKER") for each in bridges)),
        Chain("DOCKER-CT", tuple(_rule(_out(each.name), _ANSWERS, to="ACCEPT") for each in bridges)),
        Chain("DOCKER-FORWARD", (*onward, *(rule for each in bridges for rule in _leaving_28(each)))),
        Chain("DOCKER-INTERNAL"),
        Chain("DOCKER-USER"),
    )
    return chains, (_rule(to="DOCKER-USER"), _rule(to="DOCKER-FORWARD"))


def _leaving_28(bridge: Bridge) -> Iterator[Rule]:
    name = bridge.name
    if bridge.icc:
        yield _rule(_from(name), to="ACCEPT")
    else:
        yield _rule(_from(name), _out(name), to="DROP")
        yield _rule(_from(name), _not_out(name), to="ACCEPT")
