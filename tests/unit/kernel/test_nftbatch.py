"""Which texts can be carried out in one namespace for many."""

from __future__ import annotations

import struct

import pytest

from emu.kernel import nftbatch
from emu.kernel.netlink import attributes


def text(*lines: str) -> str:
    return "\n".join(("*nat", *lines, "COMMIT", ""))


def verbs(*lines: str) -> list[tuple[str, str, str]] | None:
    found = nftbatch.blocks(text(*lines))
    return None if found is None else [(line.verb, line.table, line.chain) for block in found for line in block]


def protocol(line: str) -> tuple[int, int] | None:
    """(number, flags) as NFTA_RULE_COMPAT tells them."""
    ((read,),) = nftbatch.blocks(text(line))
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


def test_tables_are_transactions_of_their_own_in_the_texts_order():
    found = nftbatch.blocks("*filter\n:A - [0:0]\n-A A -j DROP\nCOMMIT\n*nat\n:A - [0:0]\nCOMMIT\n*mangle\nCOMMIT\n")
    assert [[(line.verb, line.table) for line in block] for block in found] == [
        [(":", "filter"), ("-A ", "filter")],
        [(":", "nat")],
    ]


def test_a_chain_that_is_filled_in_two_steps_is_the_tools_work():
    """What the first step has put there is gone when the tool has ended."""
    union = "*filter\n:A - [0:0]\n-A A -j DROP\n-A A -j B\nCOMMIT\n"
    final = "*filter\n:A - [0:0]\n-A A -j B\nCOMMIT\n"
    assert nftbatch.blocks(union + text(":A - [0:0]") + final) is None
    assert nftbatch.blocks(union + text(":A - [0:0]"))


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
