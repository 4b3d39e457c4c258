"""Which iptables-restore calls a namespace needs."""

from __future__ import annotations

from emu.kernel import firewall
from emu.kernel.netns import Netns
from emu.netfilter.model import Chain, Match, Rule, Table

NODE = Netns("node1", -1)


def table(family: int, name: str, *sources: str) -> Table:
    rules = tuple(Rule((Match("", "-s", source),), "ACCEPT") for source in sources)
    chain = "FORWARD" if name == "filter" else "PREROUTING"
    return Table(family, name, (Chain(chain, rules, "ACCEPT"),))


def test_all_new_tables_of_a_family_go_in_one_call_that_flushes():
    pairs = [(None, table(4, "nat", "10.0.0.1/32")), (None, table(4, "filter", "10.0.0.2/32"))]
    (call,) = firewall.restores(NODE, pairs, {})
    assert (call.family, call.noflush) == (4, False)
    assert [line for line in call.text.splitlines() if line[0] in "*C"] == ["*nat", "COMMIT", "*filter", "COMMIT"]


def test_each_family_has_its_own_call():
    pairs = [(None, table(4, "filter", "10.0.0.1/32")), (None, table(6, "filter", "fd00::1/128"))]
    assert [call.family for call in firewall.restores(NODE, pairs, {})] == [4, 6]


def test_a_change_does_not_flush_what_stays():
    pairs = [(table(4, "filter", "10.0.0.1/32"), table(4, "filter", "10.0.0.2/32"))]
    (call,) = firewall.restores(NODE, pairs, {})
    assert call.noflush
    assert "10.0.0.2/32" in call.text


def test_a_table_that_goes_is_emptied():
    (call,) = firewall.restores(NODE, [(table(4, "filter", "10.0.0.1/32"), None)], {})
    assert call.noflush
    assert "-F FORWARD" in call.text


def test_no_difference_needs_no_call():
    same = table(4, "filter", "10.0.0.1/32")
    assert firewall.restores(NODE, [(same, table(4, "filter", "10.0.0.1/32"))], {}) == []


def test_the_same_tables_on_many_nodes_are_written_once():
    cache: dict[tuple[int, int], str] = {}
    pair = (None, table(4, "nat", "10.0.0.1/32"))
    texts = [firewall.restores(Netns(name, -1), [pair], cache)[0].text for name in ("node1", "node2")]
    assert len(cache) == 1
    assert texts[0] == texts[1]
