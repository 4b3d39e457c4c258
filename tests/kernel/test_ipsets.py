"""Sets are there before the rules that ask them, change member by member, and go after them."""

from __future__ import annotations

from dataclasses import replace

import lab
import pytest
from test_apply import change, up
from test_firewall import with_tables
from test_read import drifts

from emu.kernel import process
from emu.netfilter.model import Chain, IpSet, Match, Rule, Table
from emu.plan.model import Plan

pytestmark = pytest.mark.root

POOL = IpSet(name="pool", type="hash:net", family=4, members=frozenset({"10.244.0.0/16"}), maxelem=1048576)
ASKED = Table(
    4, "filter", (Chain("FORWARD", (Rule((Match("set", "--match-set", "pool src"),), "DROP"),), "ACCEPT"),)
)  # fmt: skip


def planned(*sets: IpSet, variant: str = "nft") -> Plan:
    plan = with_tables(lab.plan(), *((ASKED,) if sets else ()), variant=variant)
    nodes = {name: replace(each, sets=sets) for name, each in plan.netns.items() if name.startswith("node")}
    return replace(plan, netns={**plan.netns, **nodes})


def saved(kernel) -> list[str]:
    text = process.run(["ipset", "save"], ns=kernel.netns("node1")).stdout
    return [line for line in text.splitlines() if line.startswith("add") or not line]


def told(kernel, plan) -> list[str]:
    return [str(each) for each in drifts(kernel, plan)]


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_rules_may_ask_a_set_from_the_start(sandbox, variant):
    def inside():
        plan = planned(POOL, variant=variant)
        kernel = up(plan)
        return saved(kernel), told(kernel, plan)

    assert sandbox(inside) == (["add pool 10.244.0.0/16"], [])


def test_members_come_and_go_while_rules_ask(sandbox):
    def inside():
        plan = planned(POOL)
        kernel = up(plan)
        other = replace(POOL, members=frozenset({"10.9.0.0/16", "10.8.0.0/16"}))
        new = change(kernel, plan, replace(plan.netns["node1"], sets=(other,)))
        return sorted(saved(kernel)), told(kernel, new)

    assert sandbox(inside) == (["add pool 10.8.0.0/16", "add pool 10.9.0.0/16"], [])


def test_a_set_goes_when_no_rule_asks_it_any_more(sandbox):
    def inside():
        plan = planned(POOL)
        kernel = up(plan)
        change(kernel, plan, replace(plan.netns["node1"], sets=(), tables=()))
        return saved(kernel)

    assert sandbox(inside) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("flush pool", "node1: ipset pool: wanted hash:net 10.244.0.0/16, got hash:net without members"),
        ("add pool 10.9.0.0/16", "node1: ipset pool: wanted hash:net 10.244.0.0/16, got hash:net 10.244.0.0/16, 10.9."),
    ],
)
def test_what_somebody_did_to_a_set_is_drift_and_is_mended(sandbox, command, said):
    def inside():
        plan = planned(POOL)
        kernel = up(plan)
        process.run(["ipset", *command.split()], ns=kernel.netns("node1"))
        found = drifts(kernel, plan)
        kernel.repair(found)
        return [str(each) for each in found], told(kernel, plan)

    ((told_first,), left) = sandbox(inside)
    assert told_first.startswith(said)
    assert left == []
