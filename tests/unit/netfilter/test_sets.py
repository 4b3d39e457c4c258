"""Sets: as `ipset` reads and prints them, and what is in them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from emu.errors import PlanError
from emu.netfilter import parse, sets
from emu.netfilter.conditions import Choices, chance
from emu.netfilter.model import IpSet, PacketView

POOL = IpSet(name="pool", type="hash:net", family=4, members=frozenset({"10.244.0.0/16"}))
PACKET = PacketView(src=ip_address("10.244.1.2"), dst=ip_address("203.0.113.9"), proto="tcp", sport=40000, dport=80)
SAVED = """create pool hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xa3c9c53a
add pool 10.244.0.0/16
create hosts hash:ip,port family inet6 hashsize 1024 maxelem 10
"""


def test_what_ipset_save_prints_is_read_back() -> None:
    assert sets.saved(SAVED) == (POOL, IpSet(name="hosts", type="hash:ip,port", family=6, maxelem=10))


def test_a_set_is_made_with_its_members() -> None:
    assert sets.delta(None, POOL) == "create pool hash:net family inet maxelem 65536\nadd pool 10.244.0.0/16\n"


def test_a_change_touches_only_the_members_that_differ() -> None:
    more = replace(POOL, members=frozenset({"10.244.0.0/16", "10.9.0.0/16"}))
    other = replace(POOL, members=frozenset({"10.9.0.0/16"}))
    assert sets.delta(POOL, more).splitlines()[1:] == ["add pool 10.9.0.0/16"]
    assert sets.delta(more, other).splitlines()[1:] == ["del pool 10.244.0.0/16"]
    assert sets.delta(POOL, None) == "destroy pool\n"


@pytest.mark.parametrize(
    ("kind", "member", "directions", "held"),
    [
        ("hash:net", "10.244.0.0/16", "src", True),
        ("hash:net", "10.244.0.0/16", "dst", False),
        ("hash:ip", "203.0.113.9", "dst", True),
        ("hash:ip,port", "203.0.113.9,tcp:80", "dst,dst", True),
        ("hash:ip,port", "203.0.113.9,udp:80", "dst,dst", False),
        ("hash:ip,port,ip", "203.0.113.9,tcp:80,10.244.1.2", "dst,dst,src", True),
        ("hash:ip,port", "10.244.1.2,tcp:40000", "src,src", True),
        ("hash:ip,port", "203.0.113.9,tcp:80", "dst", False),
    ],
)
def test_a_packet_is_in_a_set_if_every_part_of_a_member_is_its_own(
    kind: str, member: str, directions: str, held: bool
) -> None:
    assert sets.holds(IpSet(name="s", type=kind, family=4, members=frozenset({member})), directions, PACKET) is held


def rule(text: str, **choices: object) -> float:
    return chance(parse.rule(f"-A A {text} -j ACCEPT")[1], PACKET, Choices(sets={"pool": POOL}, **choices))  # type: ignore[arg-type]


def test_what_leaves_the_pool_is_told_from_what_stays_in_it() -> None:
    assert rule("-m set --match-set pool src -m set ! --match-set pool dst") == 1.0
    assert rule("-m set --match-set pool dst") == 0.0


def test_a_set_that_is_not_planned_cannot_be_asked() -> None:
    with pytest.raises(PlanError, match="there is no set other"):
        rule("-m set --match-set other src")


def test_an_address_type_can_be_limited_to_the_interface_the_packet_leaves_by() -> None:
    text = "-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL"
    assert rule(text, is_local=lambda _: True, is_local_on=lambda dev, address: False) == 1.0
    assert rule(text, is_local=lambda _: True, is_local_on=lambda dev, address: True) == 0.0
    assert rule(text, is_local=lambda _: False, is_local_on=lambda dev, address: False) == 0.0


def test_a_packet_whose_answer_would_go_elsewhere_fails_the_reverse_path_check() -> None:
    for passes in (True, False):
        assert rule("-m rpfilter --invert --validmark", reverse_path=lambda _, p=passes: p) == float(not passes)
        assert rule("-m rpfilter --validmark", reverse_path=lambda _, p=passes: p) == float(passes)
