"""Which texts can be carried out in one namespace for many."""

from __future__ import annotations

import struct

import pytest

from emu.kernel import nftbatch
from emu.kernel.netlink import attributes


def text(*lines: str) -> str:
    return "\n".join(("*nat", *lines, "COMMIT", ""))


def verbs(*lines: str) -> list[tuple[str, str, str]] | None:
    found = nftbatch.lines(text(*lines))
    return None if found is None else [(line.verb, line.table, line.chain) for line in found]


def protocol(line: str) -> tuple[int, int] | None:
    """(number, flags) as NFTA_RULE_COMPAT tells them."""
    (read,) = nftbatch.lines(text(line))
    if not read.compat:
        return None
    of = attributes(attributes(read.compat)[5])
    return struct.unpack(">I", of[1])[0], struct.unpack(">I", of[2])[0]


def test_chains_are_filled_and_deleted_in_the_texts_order():
    assert verbs(":A - [0:0]", "-A A -j RETURN", ":B - [0:0]", "-X B") == [
        (":", "nat", "A"),
        ("-A ", "nat", "A"),
        (":", "nat", "B"),
        ("-X ", "nat", "B"),
    ]


def test_each_line_is_of_the_table_above_it():
    found = nftbatch.lines("*filter\n:A - [0:0]\nCOMMIT\n*nat\n:A - [0:0]\nCOMMIT\n")
    assert [line.table for line in found] == ["filter", "nat"]


def test_of_a_chain_that_is_filled_twice_the_second_time_counts():
    first = "*filter\n:A - [0:0]\n-A A -j DROP\n-A A -j B\nCOMMIT\n"
    found = nftbatch.lines(first + text(":A - [0:0]", "-A A -j RETURN") + "*filter\n:A - [0:0]\n-A A -j B\nCOMMIT\n")
    assert [(line.verb, line.table) for line in found] == [
        (":", "nat"),
        ("-A ", "nat"),
        (":", "filter"),
        ("-A ", "filter"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        ":PREROUTING ACCEPT [0:0]",  # a policy
        "-F PREROUTING",
        "-I A 1 -j RETURN",
        "-D A 1",
        "[3:180] -A A -j RETURN",
        "-A A -p 253 -j RETURN",
        "-A A -m set --match-set web src -j RETURN",
        "-A A -j SET --add-set web src",
    ],
)
def test_what_is_more_than_that_is_the_tools_work(line: str):
    assert verbs(line) is None


def test_the_protocol_that_matches_are_checked_for_is_read_from_the_text():
    assert protocol("-A A -s 10.0.0.1 -j RETURN") is None
    assert protocol("-A A -p tcp -m tcp --dport 80 -j RETURN") == (6, 0)
    assert protocol("-A A -d 10.0.0.1 ! -p udp -j RETURN") == (17, 2)
    assert protocol("-A A -p ipv6-icmp -j RETURN") == (58, 0)


def test_a_comment_says_nothing():
    assert protocol('-A A -m comment --comment "not -p udp, said \\" he -m set ?" -p tcp -j RETURN') == (6, 0)
    assert protocol('-A A -m comment --comment " -p udp" -j RETURN') is None
