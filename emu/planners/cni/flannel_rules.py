"""FLANNEL-POSTRTG and FLANNEL-FWD, which flanneld writes with --ip-masq, whatever the backend.

Source: flannel-io/flannel pkg/trafficmngr/iptables/iptables.go."""

from __future__ import annotations

from emu.cluster.model import IPNetwork
from emu.memo import Memo
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.model import Hook, RulesetPart

OWNER = "flannel"
POSTROUTING, FORWARD = "FLANNEL-POSTRTG", "FLANNEL-FWD"
MASQ, FWD = "flanneld masq", "flanneld forward"
FULLY = "--random-fully"
MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}


def parts(family: int, network: IPNetwork, subnet: IPNetwork) -> tuple[RulesetPart, RulesetPart]:
    """The nat part is each Node's own, the filter part the same on all."""
    return _nat((family, network, subnet), family, network, subnet), _filter((family, network), family, network)


def _rule(*matches: Match, to: str, options: str = "", comment: str = MASQ) -> Rule:
    return Rule(matches, to, options, comment, comment_at=len(matches))


def _source(network: object, negated: bool = False) -> Match:
    return Match("", "-s", str(network), negated)


def _destination(network: object, negated: bool = False) -> Match:
    return Match("", "-d", str(network), negated)


def _make_nat(family: int, network: IPNetwork, subnet: IPNetwork) -> RulesetPart:
    rules = (
        _rule(Match("mark", "--mark", "0x4000/0x4000"), to="RETURN"),  # kube-proxy's to masquerade
        _rule(_source(subnet), _destination(network), to="RETURN"),
        _rule(_source(network), _destination(subnet), to="RETURN"),
        _rule(_source(network, negated=True), _destination(subnet), to="RETURN"),
        _rule(_source(network), _destination(MULTICAST[family], negated=True), to="MASQUERADE", options=FULLY),
        _rule(_source(network, negated=True), _destination(network), to="MASQUERADE", options=FULLY),
    )
    return RulesetPart(
        owner=OWNER,
        family=family,
        tables=(Table(family, "nat", (Chain(POSTROUTING, rules),)),),
        hooks=(Hook(table="nat", chain="POSTROUTING", rule=_rule(to=POSTROUTING)),),
    )


def _make_filter(family: int, network: IPNetwork) -> RulesetPart:
    rules = (
        _rule(_source(network), to="ACCEPT", comment=FWD),
        _rule(_destination(network), to="ACCEPT", comment=FWD),
    )
    return RulesetPart(
        owner=OWNER,
        family=family,
        tables=(Table(family, "filter", (Chain(FORWARD, rules),)),),
        hooks=(Hook(table="filter", chain="FORWARD", rule=_rule(to=FORWARD, comment=FWD)),),
    )


_nat: Memo[RulesetPart] = Memo(_make_nat)
_filter: Memo[RulesetPart] = Memo(_make_filter)
