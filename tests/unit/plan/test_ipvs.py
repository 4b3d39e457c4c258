"""IPVS's services as values: what ipvsadm would print and be told, what differs between two plans."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from emu.plan import diff, render
from emu.plan.drift import drift
from emu.plan.ipvs import Forwarding, RealServer, Taken, VirtualService
from emu.plan.model import NetnsKind, NetnsPlan, Plan

MARK = Taken(mark=258)
DNS = Taken(protocol="udp", address=ip_address("10.96.0.10"), port=53)
SIX = Taken(family=6, protocol="tcp", address=ip_address("fd00:10:96::1"), port=443)
BY_MARK = VirtualService(taken=MARK)
STICKY = VirtualService(taken=DNS, scheduler="wrr", persistent_s=10800, persistent_prefix=24)
ONE, TWO = (RealServer(taken=MARK, address=ip_address(f"10.0.1.{n}")) for n in (3, 4))
SPACE = NetnsPlan(
    name="node1",
    kind=NetnsKind.NODE,
    owner="node1",
    virtual_services=(BY_MARK, STICKY),
    real_servers=(ONE, TWO, RealServer(taken=DNS, address=ip_address("10.244.1.2"), port=53)),
)


@pytest.mark.parametrize(
    ("value", "listed", "made", "removed"),
    [
        (BY_MARK, "FWM  258 rr", "-A -f 258 -s rr", "-D -f 258"),
        (
            STICKY,
            "UDP  10.96.0.10:53 wrr persistent 10800 mask 255.255.255.0",
            "-A -u 10.96.0.10:53 -s wrr -p 10800 -M 255.255.255.0",
            "-D -u 10.96.0.10:53",
        ),
        (
            VirtualService(taken=SIX, scheduler="sh", flags=("ops", "flag-1"), persistent_s=9, persistent_prefix=64),
            "TCP  [fd00:10:96::1]:443 sh (flag-1) persistent 9 mask 64 ops",
            "-A -t [fd00:10:96::1]:443 -s sh -b flag-1 -o -p 9 -M 64",
            "-D -t [fd00:10:96::1]:443",
        ),
        (VirtualService(taken=Taken(family=6, mark=5)), "FWM  5 IPv6 rr", "-A -f 5 -6 -s rr", "-D -f 5 -6"),
        (ONE, "-> 10.0.1.3:0 Masq 1", "-a -f 258 -r 10.0.1.3:0 -m -w 1", "-d -f 258 -r 10.0.1.3:0"),
        (
            RealServer(taken=SIX, address=ip_address("fd00::2"), port=8443, forwarding=Forwarding.ROUTE, weight=0),
            "-> [fd00::2]:8443 Route 0",
            "-a -t [fd00:10:96::1]:443 -r [fd00::2]:8443 -g -w 0",
            "-d -t [fd00:10:96::1]:443 -r [fd00::2]:8443",
        ),
    ],
)
def test_a_value_is_said_as_ipvsadm_says_it(
    value: VirtualService | RealServer, listed: str, made: str, removed: str
) -> None:
    assert render.value_text(value) == listed
    assert render.line("node1", value) == f"ipvsadm {made}"
    assert render.line("node1", value, remove=True) == f"ipvsadm {removed}"


def test_a_script_makes_services_before_their_servers() -> None:
    script = render.render(Plan(name="a", seed=0, netns={"node1": SPACE}))
    lines = [line.removeprefix("ip netns exec node1 ") for line in script.splitlines() if "ipvsadm" in line]
    assert [line.split()[1] for line in lines] == ["-A", "-A", "-a", "-a", "-a"]


def test_a_server_that_changes_replaces_and_one_that_goes_goes_before_its_service() -> None:
    new = replace(SPACE, virtual_services=(BY_MARK,), real_servers=(replace(ONE, weight=0),))
    change = diff.netns(SPACE, new)
    assert change is not None and change.added == (replace(ONE, weight=0),)
    assert change.removed == (SPACE.real_servers[2], TWO, STICKY)
    assert diff.netns(new, new) is None


def test_what_is_missing_is_different_or_nobodys_is_told() -> None:
    strange = RealServer(taken=MARK, address=ip_address("10.0.1.9"))
    actual = replace(SPACE, real_servers=(replace(ONE, weight=3), SPACE.real_servers[2], strange))
    found = drift(SPACE, actual)
    assert [str(each) for each in found] == [
        "node1: IPVS server 10.0.1.3:0 of FWM  258: wanted -> 10.0.1.3:0 Masq 1, got -> 10.0.1.3:0 Masq 3",
        "node1: IPVS server 10.0.1.4:0 of FWM  258: missing: -> 10.0.1.4:0 Masq 1",
        "node1: IPVS server 10.0.1.9:0 of FWM  258: not in the plan: -> 10.0.1.9:0 Masq 1",
    ]
    assert found[0].change.added == (ONE,) and found[2].change.removed == (strange,)
