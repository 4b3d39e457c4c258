"""Rules reach the kernel in one call a namespace, and are read back."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from ipaddress import ip_address

import lab
import pytest
from test_apply import change, up
from test_read import drifts

from emu.errors import KernelError
from emu.kernel import conntrack, firewall, netns, process
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.model import Plan

pytestmark = pytest.mark.root

UDP = (socket.AF_INET, socket.SOCK_DGRAM)
UDP_TO_VIP = (
    Match("", "-d", "10.96.0.10/32"),
    Match("", "-p", "udp"),
    Match("udp", "--dport", "53"),
)


def dnat(port: int, to: str) -> Rule:
    return Rule((*UDP_TO_VIP[:2], Match("udp", "--dport", str(port))), "DNAT", f"--to-destination {to}")


def nat(*rules: Rule) -> Table:
    return Table(
        4,
        "nat",
        (
            Chain("PREROUTING", (Rule((), "SERVICES"),), "ACCEPT"),
            Chain("OUTPUT", (Rule((), "SERVICES"),), "ACCEPT"),
            Chain("SERVICES", rules),
        ),
    )


def drop(source: str) -> Table:
    return Table(4, "filter", (Chain("FORWARD", (Rule((Match("", "-s", source),), "DROP"),), "ACCEPT"),))


def with_tables(plan: Plan, *tables: Table, variant: str = "nft") -> Plan:
    nodes = {name: replace(space, tables=tables) for name, space in plan.netns.items() if name.startswith("node")}
    return replace(plan, netns={**plan.netns, **nodes}, iptables=variant)


def saved(kernel, name: str, variant: str = "nft") -> list[str]:
    text = firewall.save(kernel.netns(name), variant, 4)
    return sorted(line for line in text.splitlines() if line.startswith("-A"))


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_all_tables_of_all_nodes_are_there_and_are_no_drift(sandbox, variant):
    def inside():
        plan = with_tables(lab.plan(), nat(dnat(53, "10.244.2.2:53")), drop("192.0.2.0/24"), variant=variant)
        kernel = up(plan)
        return saved(kernel, "node1", variant), saved(kernel, "node2", variant), [str(d) for d in drifts(kernel, plan)]

    first, second, found = sandbox(inside)
    assert (
        first
        == second
        == [
            "-A FORWARD -s 192.0.2.0/24 -j DROP",
            "-A OUTPUT -j SERVICES",
            "-A PREROUTING -j SERVICES",
            "-A SERVICES -d 10.96.0.10/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.2.2:53",
        ]
    )
    assert found == []


def test_a_change_touches_only_its_own_chain(sandbox):
    def inside():
        plan = with_tables(lab.plan(), nat(dnat(53, "10.244.2.2:53")), drop("192.0.2.0/24"))
        kernel = up(plan)
        process.run(["iptables", "-A", "INPUT", "-s", "203.0.113.1", "-j", "DROP"], ns=kernel.netns("node1"))
        node = replace(plan.netns["node1"], tables=(nat(dnat(53, "10.244.1.2:53")), drop("192.0.2.0/24")))
        change(kernel, plan, node)
        return saved(kernel, "node1")

    lines = sandbox(inside)
    assert "-A INPUT -s 203.0.113.1/32 -j DROP" in lines
    assert any(line.endswith("--to-destination 10.244.1.2:53") for line in lines)
    assert len([line for line in lines if "--to-destination" in line]) == 1


def test_a_rule_deleted_by_hand_is_drift_and_is_mended(sandbox):
    def inside():
        plan = with_tables(lab.plan(), nat(dnat(53, "10.244.2.2:53")), drop("192.0.2.0/24"))
        kernel = up(plan)
        process.run(["iptables", "-t", "nat", "-F", "SERVICES"], ns=kernel.netns("node2"))
        seen = drifts(kernel, plan)
        kernel.repair(seen)
        return [(d.netns, d.what) for d in seen], [str(d) for d in drifts(kernel, plan)]

    assert sandbox(inside) == ([("node2", "iptables -t nat, chain SERVICES")], [])


def test_a_bad_rule_is_shown_with_the_tools_words(sandbox):
    def inside():
        made = netns.create("node1")
        with pytest.raises(KernelError) as caught:
            firewall.restore(made, "*filter\n-A FORWARD -m nosuch\nCOMMIT\n", "nft", 4, noflush=True)
        return str(caught.value)

    said = sandbox(inside)
    assert said.startswith("node1# iptables-nft-restore -w --noflush")
    assert "line 2: -A FORWARD -m nosuch" in said


def test_udp_entries_of_a_gone_endpoint_are_deleted_and_no_others(sandbox):
    def inside():
        plan = with_tables(lab.plan(), nat(dnat(53, "10.244.2.2:53"), dnat(54, "10.244.2.9:53")))
        kernel = up(plan)
        pod = kernel.netns("default.p1-1")
        with netns.socket_in(pod, *UDP) as sock:
            for port in (53, 54):
                sock.sendto(b"?", ("10.96.0.10", port))
        node = kernel.netns("node1")
        deadline = time.monotonic() + 5
        while len(to_vip(node)) < 2 and time.monotonic() < deadline:  # they wait for the gateway's address first
            pass
        before = to_vip(node)
        deleted = kernel.flush_conntrack("node1", orig_dst=ip_address("10.96.0.10"), dst_nat=ip_address("10.244.2.2"))
        return len(before), deleted, [str(entry.reply.src) for entry in to_vip(node)]

    assert sandbox(inside) == (2, 1, ["10.244.2.9"])


def to_vip(node: netns.Netns) -> list[conntrack.Entry]:
    return [entry for entry in conntrack.entries(node) if str(entry.orig.dst) == "10.96.0.10"]


def test_entries_read_as_the_conntrack_tool_prints_them(sandbox):
    def inside():
        kernel = up(with_tables(lab.plan(), nat(dnat(53, "10.244.2.2:53"))))
        process.run(["ping", "-c1", "10.244.2.2"], ns=kernel.netns("default.p1-1"))
        with netns.socket_in(kernel.netns("default.p1-1"), *UDP) as sock:
            sock.sendto(b"?", ("10.96.0.10", 53))
        node = kernel.netns("node1")
        tool = process.run(["conntrack", "-L"], ns=node).stdout
        return _comparable(tool), _comparable(conntrack.text(conntrack.entries(node)))

    tool, ours = sandbox(inside)
    assert {words[0] for words in tool} >= {"icmp", "udp"}
    assert ours == tool


def _comparable(text: str) -> list[list[str]]:
    """Sorted, without the seconds left, which pass between the two readings."""
    return sorted([*words[:2], *words[3:]] for line in text.splitlines() if (words := line.split()))
