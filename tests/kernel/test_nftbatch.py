"""What a text has done in one namespace, done in others: the same rules, bit by bit, as the tool's own."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_rules_kernel import STEPS, tables

from emu import planners
from emu.errors import KernelError
from emu.kernel import firewall, netns, nftbatch, process
from emu.kernel.firewall import Restore
from emu.kernel.netlink import Connection, attributes
from emu.kernel.netns import Netns
from emu.netfilter import text
from emu.netfilter.model import BUILTIN, Rule, Table
from emu.netfilter.steps import steps

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "planners"))
import shipped

pytestmark = pytest.mark.root
Sandbox = Callable[[Callable[[], object]], object]

GETRULE = 10 << 8 | 7
HANDLE, POSITION = 3, 6


def rules(space: Netns, family: int) -> list[dict[int, bytes]]:
    """All the kernel tells of each rule but its number."""
    connection = Connection(netns.socket_in(space, 16, 3, 12))  # AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER
    head = bytes((2 if family == 4 else 10, 0, 0, 0))
    found = [attributes(body[4:]) for body in connection.dump(GETRULE, head)]
    connection.close()
    return [{kind: value for kind, value in of.items() if kind not in (HANDLE, POSITION)} for of in found]


def saved(space: Netns, family: int, variant: str = "nft") -> list[str]:
    return [line for line in firewall.save(space, variant, family).splitlines() if not line.startswith("#")]


def by_tool(space: Netns, rules_text: str, family: int, noflush: bool = True) -> None:
    firewall.restore(space, rules_text, "nft", family, noflush=noflush)


def copied(before: str, change: str, family: int) -> tuple[bool, bool, int]:
    """(carried out, the same as the tool's, rules) of a change, in a namespace that had `before`."""
    spaces = first, second, third = netns.create_all(("first", "second", "third"))
    for space in spaces:
        by_tool(space, before, family, noflush=False)
    by_tool(first, change, family)
    done = nftbatch.carry_out(second, batch(first, change, family))
    by_tool(third, change, family)
    same = rules(second, family) == rules(third, family) and saved(second, family) == saved(third, family)
    count = len(rules(second, family))
    for space in spaces:
        netns.delete(space)
    return done is not None, same, count


def batch(space: Netns, change: str, family: int = 4) -> nftbatch.Batch:
    blocks = nftbatch.blocks(change)
    assert blocks
    made = nftbatch.batch(space, family, blocks)
    assert made
    return made


@pytest.mark.parametrize("step", STEPS)
def test_a_change_is_what_the_tool_makes_of_it(sandbox: Sandbox, step: str) -> None:
    old, new = (tables(each, 4) for each in STEPS[step])
    names = {table.name: table for table in old}
    before = "".join(map(text.restore, old))
    change = "".join(text.delta(*pair) for pair in steps([(names.get(table.name), table) for table in new]))
    done, same, count = sandbox(lambda: copied(before, change, 4))
    assert (done, same) == (True, True)
    assert count > 10


def test_a_change_of_thousands_of_rules_is_read_by_tables_and_sent_in_one_piece(sandbox: Sandbox) -> None:
    chains = [f"WEB-{n}" for n in range(nftbatch._FEW)]
    hollow = "".join(f":{name} - [0:0]\n" for name in chains)
    ports = "".join(f"-A {name} -p tcp -m tcp --dport {port} -j RETURN\n" for name in chains for port in range(1, 31))
    before, change = (
        "".join(f"*{table}\n{hollow}{body}COMMIT\n" for table in ("filter", "nat")) for body in ("", ports)
    )
    assert sandbox(lambda: copied(before, change, 4)) == (True, True, 2 * 30 * len(chains))


def _hollow(table: Table) -> Table:
    """Chains of one's own are there, without a rule."""
    mine = BUILTIN[table.name]
    return replace(table, chains=tuple(c if c.name in mine else replace(c, rules=()) for c in table.chains))


NO_CHAINS_OF_THEIR_OWN = {"two-hosts-vm"}
TOPOLOGIES = sorted(folder.name for folder in shipped.FOLDERS.iterdir() if (folder / "topology.yaml").exists())


def _asking_no_sets(table: Table) -> Table:
    chains = (replace(c, rules=tuple(r for r in c.rules if not _asks_set(r))) for c in table.chains)
    return replace(table, chains=tuple(chains))


def _asks_set(rule: Rule) -> bool:
    return any(match.module == "set" for match in rule.matches)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_table_of_a_shipped_topology_can_be_copied_but_for_rules_that_ask_sets(
    sandbox: Sandbox, topology: str
) -> None:
    plans = planners.build(shipped.ready(topology)).netns.values()
    every = {table: table.family for space in plans for table in map(_asking_no_sets, space.tables)}

    def run() -> tuple[list[str], int]:
        wrong, rules_compared = [], 0
        for table in every:
            hollow = _hollow(table)
            if change := text.delta(hollow, table):
                done, same, count = copied(text.restore(hollow), change, table.family)
                rules_compared += count
                wrong += [] if done and same else [change]
        return wrong, rules_compared

    wrong, rules_compared = sandbox(run)
    assert wrong == []
    assert rules_compared > 0 or topology in NO_CHAINS_OF_THEIR_OWN


EMPTY = "*filter\n:WEB - [0:0]\n-A OUTPUT -j WEB\nCOMMIT\n"


def web(*rules: str) -> str:
    return "".join(("*filter\n:WEB - [0:0]\n", *(f"-A WEB {rule}\n" for rule in rules), "COMMIT\n"))


@pytest.mark.parametrize(
    "rule",
    [
        "-p tcp -m tcp --tcp-flags SYN,ACK SYN -j RETURN",
        "! -p tcp -m mark --mark 0x1 -j RETURN",
        "-p tcp -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset",
        "-p icmp -m icmp --icmp-type 8 -m limit --limit 5/sec -j LOG --log-prefix web",
        "-m recent --set --name WEB --mask 255.255.255.255 --rsource -m conntrack --ctstate NEW -j MARK --set-mark 1",
        '-m comment --comment "a counter\\" of -p udp" -m addrtype --dst-type LOCAL -j DROP',
    ],
)
def test_a_rule_is_copied_bit_by_bit(sandbox: Sandbox, rule: str) -> None:
    assert sandbox(lambda: copied(EMPTY, web(rule, "-j RETURN"), 4)) == (True, True, 3)


def test_a_match_is_checked_for_the_rules_protocol_which_the_kernel_does_not_tell(sandbox: Sandbox) -> None:
    def run() -> tuple[bool, list[str]]:
        first, second = netns.create_all(("first", "second"))
        for space in (first, second):
            by_tool(space, EMPTY, 4)
        change = web("-p tcp -m multiport --dports 80,443 -j RETURN")
        by_tool(first, change, 4)
        (block,) = nftbatch.blocks(change) or ()
        made = nftbatch.batch(first, 4, [[line._replace(compat=b"") for line in block]])
        assert made
        return nftbatch.carry_out(second, made) is None, saved(second, 4)

    refused, left = sandbox(run)
    assert refused
    assert "-A OUTPUT -j WEB" in left
    assert not [line for line in left if line.startswith("-A WEB")]


def test_what_a_rule_has_counted_stays_where_it_is(sandbox: Sandbox) -> None:
    def run() -> list[str]:
        first, second = netns.create_all(("first", "second"))
        change = web("-s 127.0.0.1 -j RETURN")
        for space in (first, second):
            by_tool(space, EMPTY, 4)
        by_tool(first, change, 4)
        process.run(["ip", "link", "set", "lo", "up"], ns=first)
        process.run(["ping", "-c1", "127.0.0.1"], ns=first)
        nftbatch.carry_out(second, batch(first, change))
        return [
            next(line for line in process.run(["iptables-save", "-c"], ns=space).stdout.splitlines() if "127.0" in line)
            for space in (first, second)
        ]

    assert sandbox(run) == ["[2:168] -A WEB -s 127.0.0.1/32 -j RETURN", "[0:0] -A WEB -s 127.0.0.1/32 -j RETURN"]


def test_chains_go_and_others_stay(sandbox: Sandbox) -> None:
    def run() -> tuple[bool, list[str]]:
        first, second = netns.create_all(("first", "second"))
        before = "*filter\n:WEB - [0:0]\n:OLD - [0:0]\n:MINE - [0:0]\n-A WEB -j OLD\n-A MINE -j DROP\nCOMMIT\n"
        change = "*filter\n:WEB - [0:0]\n-A WEB -j RETURN\n:OLD - [0:0]\n-X OLD\nCOMMIT\n"
        for space in (first, second):
            by_tool(space, before, 4)
        by_tool(first, change, 4)
        done = nftbatch.carry_out(second, batch(first, change))
        return done is not None, [line for line in saved(second, 4) if " - " in line or line.startswith("-A")]

    assert sandbox(run) == (True, [":MINE - [0:0]", ":WEB - [0:0]", "-A MINE -j DROP", "-A WEB -j RETURN"])


def restored(
    change: str, *, broken: str = "", alike: int = 6, variant: str = "nft"
) -> tuple[list[list[str]], str, list[str]]:
    """(the rules of each namespace, the error, who copied), when as many are changed at once and one has lost all."""
    log = logging.getLogger("emu.kernel.firewall")
    said = logging.handlers.BufferingHandler(1000)
    log.setLevel(logging.INFO)
    log.addHandler(said)
    spaces = netns.create_all([f"node{n}" for n in range(1, alike + 1)])
    for space in spaces:
        firewall.restore(space, EMPTY, variant, 4, noflush=False)
        if space.name == broken:
            process.run(["nft", "delete", "table", "ip", "filter"], ns=space)
    error = ""
    try:
        firewall.restore_all([Restore(space, 4, change, True) for space in spaces], variant)
    except KernelError as raised:
        error = str(raised)
    copies = sorted(r.getMessage().partition("#")[0] for r in said.buffer if "copied from node1)" in r.getMessage())
    return [[line for line in saved(space, 4, variant) if line.startswith("-A WEB")] for space in spaces], error, copies


@pytest.mark.parametrize(
    ("broken", "copies"), [("", [2, 3, 4, 5, 6]), ("node1", [2, 3, 4, 5, 6]), ("node5", [2, 3, 4, 6])]
)
def test_all_have_the_rules_also_one_that_had_lost_its_table(sandbox: Sandbox, broken: str, copies: list[int]) -> None:
    change = web("-p tcp -m tcp --dport 80 -j ACCEPT")
    every, error, copied_to = sandbox(lambda: restored(change, broken=broken))
    assert (every, error) == ([["-A WEB -p tcp -m tcp --dport 80 -j ACCEPT"]] * 6, "")
    assert copied_to == [f"node{n}" for n in copies]


def test_a_few_use_the_tool_side_by_side(sandbox: Sandbox) -> None:
    every, _, copies = sandbox(lambda: restored(web("-j ACCEPT"), alike=3))
    assert (every, copies) == ([["-A WEB -j ACCEPT"]] * 3, [])


@pytest.mark.parametrize(("variant", "rule"), [("legacy", "-j ACCEPT"), ("nft", "-m cpu --cpu 0 -p 4 -j ACCEPT")])
def test_what_cannot_be_copied_is_restored_in_each(sandbox: Sandbox, variant: str, rule: str) -> None:
    every, error, copies = sandbox(lambda: restored(web(rule), variant=variant))
    assert (len(every[0]), every, error, copies) == (1, [every[0]] * 6, "", [])


def test_no_descriptor_stays_open(sandbox: Sandbox) -> None:
    def run() -> bool:
        spaces = netns.create_all([f"node{n}" for n in range(1, 21)])
        for space in spaces:
            by_tool(space, EMPTY, 4)
        before = os.listdir("/proc/self/fd")
        firewall.restore_all([Restore(space, 4, web("-j ACCEPT"), True) for space in spaces], "nft")
        deadline = time.monotonic() + 10
        while os.listdir("/proc/self/fd") != before and time.monotonic() < deadline:
            pass
        return os.listdir("/proc/self/fd") == before

    assert sandbox(run)


def test_what_the_tool_refuses_nobody_has_and_the_first_is_named(sandbox: Sandbox) -> None:
    every, error, copies = sandbox(lambda: restored(web("-p tcp -j ACCEPT", "-m nosuch -j ACCEPT")))
    assert (every, copies) == ([[]] * 6, [])
    assert error.startswith("node1# iptables-nft-restore -w --noflush: ")
    assert error.endswith("line 4: -A WEB -m nosuch -j ACCEPT")
