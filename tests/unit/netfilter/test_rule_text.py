"""Rules as text: written, read back, spelled as the kernel's tools echo them, changed by the least."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rule_texts import ECHOES

from emu.errors import PlanError
from emu.netfilter import normal, parse, text
from emu.netfilter.line import line
from emu.netfilter.model import Chain, Match, Rule, Table


@pytest.mark.parametrize(("written", "echo"), ECHOES.items(), ids=lambda value: value[:60])
class TestEcho:
    def test_a_written_rule_is_spelled_as_iptables_save_does(self, written: str, echo: str) -> None:
        assert text.rule("", *parse.rule(written)) == echo

    def test_a_rule_and_its_echo_have_one_normal_form(self, written: str, echo: str) -> None:
        assert normal.normal(parse.rule(written)[1]) == normal.normal(parse.rule(echo)[1])

    def test_a_normal_form_is_its_own(self, written: str, echo: str) -> None:
        once = normal.normal(parse.rule(written)[1])
        assert normal.normal(once) == once

    def test_what_is_written_again_reads_the_same(self, written: str, echo: str) -> None:
        chain, rule = parse.rule(echo)
        assert parse.rule(line(chain, rule)) == (chain, rule)


def test_defaults_of_ipv6_are_named_as_ip6tables_does() -> None:
    chain, rule = parse.rule("-A A -m recent --name S --set -j REJECT")
    assert text.rule("filter", chain, rule, family=6) == (
        "-t filter -A A -m recent --set --name S --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource "
        "-j REJECT --reject-with icmp6-port-unreachable"
    )


def test_counters_table_and_family_in_front_are_passed_over() -> None:
    assert parse.rule("[12:340] -A A -j B") == parse.rule("-4 -t nat -A A -j B")


def test_a_line_that_is_no_rule_is_named() -> None:
    with pytest.raises(PlanError, match="not an iptables rule: 'hello'"):
        parse.rule("hello")


JUMP = Rule((), "A")


def table(*chains: Chain) -> Table:
    return Table(4, "nat", chains)


def own(name: str, *targets: str) -> Chain:
    return Chain(name, tuple(Rule((), target) for target in targets))


PREROUTING = Chain("PREROUTING", (JUMP,), "ACCEPT")


def test_a_whole_table_declares_then_fills() -> None:
    assert text.restore(table(PREROUTING, own("A", "RETURN"))) == (
        "*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n-A PREROUTING -j A\n-A A -j RETURN\nCOMMIT\n"
    )


def test_the_first_delta_makes_everything() -> None:
    assert text.delta(None, table(PREROUTING, own("A"))) == (
        "*nat\n:A - [0:0]\n:PREROUTING ACCEPT [0:0]\n-F PREROUTING\n-A PREROUTING -j A\nCOMMIT\n"
    )


def test_equal_tables_need_nothing_however_they_are_spelled() -> None:
    marked = own("A")
    written = replace(marked, rules=(Rule((), "MARK", "--or-mark 0x4000"),))
    echoed = replace(marked, rules=(Rule((), "MARK", "--set-xmark 0x4000/0x4000"),))
    assert text.delta(table(PREROUTING, written), table(PREROUTING, echoed)) == ""


def test_only_chains_that_differ_are_written_and_stale_ones_deleted_last() -> None:
    old = table(PREROUTING, own("A", "B", "C"), own("B", "ACCEPT"), own("C", "ACCEPT"))
    new = table(PREROUTING, own("A", "B"), own("B", "ACCEPT"))
    assert text.delta(old, new) == "*nat\n:C - [0:0]\n:A - [0:0]\n-A A -j B\n-X C\nCOMMIT\n"


def test_a_chain_stands_behind_those_it_jumps_to_and_the_last_names_stand_first() -> None:
    jumping = own("Z", "A", "M", "B", "RETURN")
    written = text.delta(table(PREROUTING), table(PREROUTING, jumping, own("A"), own("B", "C"), own("C"), own("M")))
    assert [line.split()[0] for line in written.splitlines() if line.startswith(":")] == [":M", ":C", ":A", ":B", ":Z"]


def test_a_built_in_chain_is_emptied_before_it_is_filled() -> None:
    new = table(replace(PREROUTING, rules=()), own("A"))
    assert text.delta(table(PREROUTING, own("A")), new) == "*nat\n:PREROUTING ACCEPT [0:0]\n-F PREROUTING\nCOMMIT\n"


def test_a_table_that_goes_leaves_nothing() -> None:
    assert text.delta(table(PREROUTING, own("A")), None) == (
        "*nat\n:PREROUTING ACCEPT [0:0]\n-F PREROUTING\n:A - [0:0]\n-X A\nCOMMIT\n"
    )


def test_differences_are_named_rule_by_rule() -> None:
    wanted = table(PREROUTING, own("A", "B", "RETURN"), own("B"))
    got = table(PREROUTING, own("A", "B"), own("X", "ACCEPT"), own("B"))
    assert [str(difference) for difference in normal.same(wanted, got)] == [
        "missing: -A A -j RETURN",
        "not planned: :X -",
        "not planned: -A X -j ACCEPT",
    ]


def test_the_order_of_rules_matters_and_the_order_of_chains_does_not() -> None:
    one = table(own("A", "RETURN", "ACCEPT"), own("B"))
    assert normal.same(one, table(own("B"), own("A", "RETURN", "ACCEPT"))) == []
    assert normal.same(one, table(own("A", "ACCEPT", "RETURN"), own("B"))) != []


def test_a_module_opened_twice_keeps_its_two_halves() -> None:
    _, rule = parse.rule("-A A -m addrtype --src-type LOCAL -m addrtype ! --dst-type LOCAL -j B")
    assert rule.matches == (
        Match("addrtype", "--src-type", "LOCAL"),
        Match("addrtype"),
        Match("addrtype", "--dst-type", "LOCAL", negated=True),
    )
