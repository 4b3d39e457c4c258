"""No packet of a Service falls between two tables while they change."""

from __future__ import annotations

from emu.netfilter.model import Chain, Match, Rule, Table
from emu.netfilter.steps import Pair, steps


def refused(*services: str) -> Table:
    rules = tuple(Rule((Match("", "-d", address),), "REJECT") for address in services)
    return Table(4, "filter", (Chain("KUBE-SERVICES", rules),))


def translated(*services: str) -> Table:
    rules = tuple(Rule((Match("", "-d", address),), f"KUBE-SVC-{address}") for address in services)
    return Table(4, "nat", (Chain("KUBE-SERVICES", rules),))


def moments(pairs: list[Pair]) -> list[set[str]]:
    """The addresses that a rule speaks of, before, between and after the steps."""
    now = {old.name: old for old, _ in reversed(pairs) if old}
    seen = [addresses(now)]
    for _, new in pairs:
        if new:
            now[new.name] = new
        seen.append(addresses(now))
    return seen


def addresses(tables: dict[str, Table]) -> set[str]:
    return {rule.matches[0].value for table in tables.values() for chain in table.chains for rule in chain.rules}


def test_services_that_gain_or_lose_their_endpoints_have_a_rule_at_every_moment():
    gains, loses = "10.96.0.7/32", "10.96.0.8/32"
    nat, filter_ = (translated(loses), translated(gains)), (refused(gains), refused(loses))
    for pairs in ([nat, filter_], [filter_, nat]):
        assert all(each == {gains, loses} for each in moments(steps(pairs)))


def test_the_last_step_leaves_what_is_wanted():
    old, new = refused("10.96.0.7/32"), refused("10.96.0.8/32")
    assert steps([(translated("10.96.0.8/32"), translated()), (old, new)])[-1][1] is new


def test_a_table_that_changes_alone_is_one_step():
    pairs: list[Pair] = [(refused("10.96.0.7/32"), refused())]
    assert steps(pairs) == pairs
