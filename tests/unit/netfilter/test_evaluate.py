"""What rules do with a packet."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from emu.errors import PlanError
from emu.netfilter import parse
from emu.netfilter.evaluate import Choices, Outcome, PacketView, walk

PACKET = PacketView(
    src=ip_address("10.0.0.2"), dst=ip_address("10.0.0.3"), proto="tcp", sport=40000, dport=80, iif="eth0"
)


def run(text: str, hook: str, packet: PacketView = PACKET, choices: Choices = Choices()) -> list[Outcome]:  # noqa: B008
    return list(walk(parse.save(text, packet.dst.version), hook, packet, choices))


def table(name: str, *lines: str, policy: str = "ACCEPT", hook: str = "FORWARD", chains: str = "A B") -> str:
    declared = "".join(f":{chain} - [0:0]\n" for chain in chains.split())
    return f"*{name}\n:{hook} {policy} [0:0]\n{declared}" + "".join(f"{line}\n" for line in lines) + "COMMIT\n"


def verdict(*lines: str, packet: PacketView = PACKET, policy: str = "ACCEPT", choices: Choices = Choices()) -> str:  # noqa: B008
    return ", ".join(o.verdict for o in run(table("filter", *lines, policy=policy), "FORWARD", packet, choices))


@pytest.mark.parametrize(
    "match",
    [
        "-s 10.0.0.0/24", "! -s 10.0.1.0/24", "-d 10.0.0.3", "-p tcp", "-i eth0", "-i eth+", "! -i cni0", "! -o cni+",
        "-p tcp --dport 80", "-p tcp --dport 70:90", "-p tcp -m multiport --dports 22,80", "-p tcp ! --sport 1:1000",
        "-p tcp -m multiport --ports 40000", "-m conntrack --ctstate NEW,RELATED", "-m mark --mark 0x0/0x4000",
        "-m mark ! --mark 0x1", "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL",
        "-m comment --comment anything", "-m physdev --physdev-in veth0", "-m recent --name L --set",
        "-m recent --name HERE --rcheck --seconds 10 --reap", "-m recent --name ELSE ! --rcheck", "-p all",
    ],
)  # fmt: skip
def test_these_matches_hold(match: str) -> None:
    known = Choices(is_local=lambda ip: str(ip) == "10.0.0.3", recent=lambda name: name == "HERE")
    assert verdict(f"-A FORWARD {match} -j DROP", choices=known) == "DROP"


@pytest.mark.parametrize(
    "match",
    ["-s 10.0.1.0/24", "-p udp", "-i cni0", "-p tcp --dport 81", "-m conntrack --ctstate ESTABLISHED",
     "-m mark --mark 0x4000/0x4000", "-m addrtype --dst-type LOCAL", "-m recent --name L --rcheck"],
)  # fmt: skip
def test_these_matches_do_not(match: str) -> None:
    assert verdict(f"-A FORWARD {match} -j DROP") == "ACCEPT"


def test_a_jump_returns_and_a_goto_does_not() -> None:
    behind = "-A FORWARD -j DROP"
    assert verdict("-A FORWARD -j A", "-A A -j RETURN", behind) == "DROP"
    assert verdict("-A FORWARD -g A", "-A A -j RETURN", behind) == "ACCEPT"
    assert verdict("-A FORWARD -j B", "-A B -g A", behind) == "DROP"


def test_a_policy_decides_what_no_rule_did() -> None:
    assert verdict("-A FORWARD -j A", policy="DROP") == "DROP"
    assert verdict("-A FORWARD -j ACCEPT", policy="DROP") == "ACCEPT"


def test_marks_carry_over_in_every_spelling() -> None:
    marks = [
        run(table("mangle", f"-A FORWARD -j MARK {spelling}"), "FORWARD", replace(PACKET, mark=0x3))[0].mark
        for spelling in ("--or-mark 0x4", "--xor-mark 0x1", "--and-mark 0x2", "--set-mark 0x8", "--set-xmark 0x4/0x1")
    ]
    assert marks == [0x7, 0x2, 0x2, 0x8, 0x6]


def test_random_rules_part_the_packet() -> None:
    text = table(
        "nat",
        "-A PREROUTING -m statistic --mode random --probability 0.25 -j DNAT --to-destination 10.1.0.1:8080",
        "-A PREROUTING -j DNAT --to-destination 10.1.0.2",
        hook="PREROUTING",
    )
    outcomes = run(text, "PREROUTING")
    assert [(str(o.packet.dst), o.packet.dport, o.probability) for o in outcomes] == [
        ("10.1.0.1", 8080, 0.25),
        ("10.1.0.2", 80, 0.75),
    ]


def test_nat_is_for_new_connections_only() -> None:
    text = table("nat", "-A PREROUTING -j DNAT --to-destination 10.1.0.2", hook="PREROUTING")
    assert run(text, "PREROUTING", replace(PACKET, ctstate="ESTABLISHED"))[0].dnat is None


def test_filter_sees_what_nat_made_of_a_local_packet() -> None:
    nat = table("nat", "-A OUTPUT -j DNAT --to-destination 10.1.0.2:8080", hook="OUTPUT")
    rule = "-A OUTPUT -d 10.1.0.2 -p tcp --dport 8080 -m conntrack --ctstate DNAT -j REJECT --reject-with tcp-reset"
    outcome = run(nat + table("filter", rule, hook="OUTPUT"), "OUTPUT")[0]
    assert (outcome.verdict, outcome.reject_with) == ("REJECT", "tcp-reset")


def test_redirect_names_a_port_of_the_incoming_device_and_here_goes_to_127_0_0_1() -> None:
    coming = run(
        table("nat", "-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-port 8080", hook="PREROUTING"), "PREROUTING"
    )
    assert [(each.redirect, each.dnat) for each in coming] == [(8080, None)]
    (kept,) = run(table("nat", "-A PREROUTING -j REDIRECT", hook="PREROUTING"), "PREROUTING")
    assert kept.redirect == 0
    made_here = replace(PACKET, iif="", oif="eth0")
    (going,) = run(table("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 8080", hook="OUTPUT"), "OUTPUT", made_here)
    assert (going.redirect, going.dnat) == (-1, (ip_address("127.0.0.1"), 8080))
    with pytest.raises(PlanError, match="only one port can be predicted"):
        run(table("nat", "-A PREROUTING -p tcp -j REDIRECT --to-ports 80-90", hook="PREROUTING"), "PREROUTING")


def test_masquerade_and_snat_end_the_table() -> None:
    text = table("nat", "-A POSTROUTING -j A", "-A A -j MASQUERADE --random-fully", hook="POSTROUTING")
    outcome = run(text, "POSTROUTING")[0]
    assert (outcome.masquerade, outcome.random_port) == (True, True)
    text = table("nat", "-A POSTROUTING -j SNAT --to-source 192.0.2.1", hook="POSTROUTING")
    assert run(text, "POSTROUTING")[0].snat == (ip_address("192.0.2.1"), 0)


@pytest.mark.parametrize(
    ("options", "mark", "connmark"),
    [
        ("--set-xmark 0x80/0x80", 0x4001, 0x82),
        ("--set-mark 0x1/0x3", 0x4001, 0x1),
        ("--restore-mark --mask 0x2", 0x4003, 0x2),
        ("--restore-mark --nfmask 0x4000 --ctmask 0x2", 0x3, 0x2),
        ("--restore-mark", 0x2, 0x2),
        ("--save-mark --mask 0x1", 0x4001, 0x3),
        ("--save-mark", 0x4001, 0x4001),
    ],
)
def test_connmark_moves_marks_between_packet_and_connection(options: str, mark: int, connmark: int) -> None:
    packet = replace(PACKET, mark=0x4001, connmark=0x2)
    (outcome,) = run(table("mangle", f"-A FORWARD -j CONNMARK {options}"), "FORWARD", packet)
    assert (outcome.packet.mark, outcome.packet.connmark, outcome.verdict) == (mark, connmark, "ACCEPT")


def test_the_mark_of_a_connection_can_be_asked_for() -> None:
    rule = "-A FORWARD -m connmark --mark 0x80/0x80 -j DROP"
    assert verdict(rule, packet=replace(PACKET, connmark=0x81)) == "DROP"
    assert verdict(rule, packet=replace(PACKET, mark=0x80)) == "ACCEPT"


def test_ttl_rules_add_up_and_the_packet_goes_on() -> None:
    (outcome,) = run(table("mangle", *["-A FORWARD -j TTL --ttl-inc 1"] * 2), "FORWARD")
    assert (outcome.ttl_raised, outcome.verdict) == (2, "ACCEPT")


def test_ipv6_destinations_have_brackets() -> None:
    packet = replace(PACKET, src=ip_address("fd00::2"), dst=ip_address("fd00::3"))
    text = table("nat", "-A PREROUTING -j DNAT --to-destination [fd00::9]:8080", hook="PREROUTING")
    assert run(text, "PREROUTING", packet)[0].dnat == (ip_address("fd00::9"), 8080)


def test_the_rules_that_matched_come_in_order() -> None:
    outcome = run(table("filter", "-A FORWARD -p udp -j DROP", "-A FORWARD -j A", "-A A -j ACCEPT"), "FORWARD")[0]
    assert [(m.table, m.chain, m.rule.target) for m in outcome.matched] == [
        ("filter", "FORWARD", "A"),
        ("filter", "A", "ACCEPT"),
    ]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("-A FORWARD -m owner --uid-owner 0 -j DROP", "-m owner --uid-owner 0"),
        ("-A FORWARD -j TPROXY --on-port 1", "unknown target TPROXY"),
        ("-A FORWARD -m statistic --mode nth --every 2 --packet 0 -j DROP", "-m statistic --mode nth"),
    ],
)
def test_what_cannot_be_predicted_names_the_rule(rule: str, why: str) -> None:
    with pytest.raises(PlanError) as error:
        verdict(rule)
    assert why in error.value.message
    assert "-t filter -A FORWARD" in error.value.message


def test_a_loop_of_jumps_is_found() -> None:
    with pytest.raises(PlanError, match="jumps in a loop"):
        verdict("-A FORWARD -j A", "-A A -j B", "-A B -j A")
