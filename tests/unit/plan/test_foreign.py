"""What CNI plugins have made, told from what we make and from what anybody else has done."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from emu.netfilter import parse
from emu.netfilter.model import Table
from emu.plan import drift, foreign
from emu.plan.model import Address, Foreign, Link, NetnsKind, NetnsPlan, Plan, Role, Route

UPLINK = Link(name="eth0", kind="veth", role=Role.UPLINK, owner="node1")
CNI0 = Link(name="cni0", kind="bridge", role=Role.BRIDGE, owner="node1", mac="02:00:00:00:00:01")
VETH = Link(name="veth1", kind="veth", role=Role.HOST_VETH, owner="node1", master="cni0")
TO_NODE2 = Route(dst=ip_network("10.244.2.0/24"), via=ip_address("192.168.100.12"), dev="eth0")
STRAY = Route(dst=ip_network("10.9.0.0/16"), via=ip_address("192.168.100.12"), dev="eth0")
GATEWAY = Address(dev="cni0", address=ip_interface("10.244.1.1/24"))
CONNECTED = Route(dst=ip_network("10.244.1.0/24"), dev="cni0", scope="link", protocol="kernel")


def table(text: str, name: str = "filter") -> Table:
    lines = [line.strip() for line in text.strip().splitlines()]
    chains = [f":{line.split()[1]} - [0:0]" for line in lines if line.startswith(":")]
    builtin = {"filter": ["INPUT", "FORWARD", "OUTPUT"]}[name]
    heads = [f":{chain} ACCEPT [0:0]" for chain in builtin] + chains
    rules = [line for line in lines if line.startswith("-A")]
    return parse.save("\n".join([f"*{name}", *heads, *rules, "COMMIT"]), 4)[0]


OURS = table("""
    : KUBE-FORWARD
    -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
    -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
""")
PLANNED = NetnsPlan(
    name="node1", kind=NetnsKind.NODE, owner="node1", links=(UPLINK,), routes=(TO_NODE2,), tables=(OURS,)
)
AFTER = replace(
    PLANNED,
    links=(UPLINK, CNI0, VETH),
    addresses=(GATEWAY,),
    routes=(TO_NODE2, CONNECTED),
    tables=(
        table("""
            : KUBE-FORWARD
            : CNI-FORWARD
            -A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
            -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
            -A FORWARD -s 10.244.1.2/32 -j ACCEPT
            -A CNI-FORWARD -s 10.244.1.2/32 -j ACCEPT
            -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
        """),
    ),
)


def found(first: NetnsPlan = PLANNED, then: NetnsPlan = AFTER, known: Foreign | None = None) -> Foreign:
    return foreign.after(known, PLANNED, first, then, "mynet")


def chains(tables: tuple[Table, ...]) -> dict[str, int]:
    return {chain.name: len(chain.rules) for each in tables for chain in each.chains}


def test_what_has_come_is_theirs_without_what_is_ours_or_the_kernels() -> None:
    theirs = found()
    assert (theirs.links, theirs.addresses, theirs.routes) == ((CNI0, VETH), (GATEWAY,), ())


def test_their_rules_are_known_by_chain_and_by_whether_they_stand_before_ours() -> None:
    theirs = found()
    assert chains(theirs.tables) == {"FORWARD": 1, "CNI-FORWARD": 1}
    assert chains(theirs.appended) == {"FORWARD": 1}


def test_what_somebody_did_before_they_were_called_is_not_theirs() -> None:
    blocked = table("-A FORWARD -p tcp -j DROP\n: MINE\n-A MINE -j DROP")
    first = replace(PLANNED, routes=(TO_NODE2, STRAY), tables=(blocked,))
    then = replace(PLANNED, routes=(TO_NODE2, STRAY), tables=(blocked,))
    assert found(first, then) == Foreign(by="mynet")


def test_what_they_take_away_again_is_theirs_no_more() -> None:
    theirs = found(AFTER, replace(AFTER, links=(UPLINK, CNI0), tables=PLANNED.tables), known=found())
    assert theirs.links == (CNI0,) and theirs.tables == () and theirs.appended == ()


def test_what_somebody_else_takes_away_is_missed() -> None:
    without = replace(AFTER, links=(UPLINK, CNI0))
    assert found(without, without, known=found()).links == (CNI0, VETH)


def test_their_rules_stay_theirs_when_the_plan_has_them_in_its_tables() -> None:
    planned = replace(PLANNED, tables=AFTER.tables)
    theirs = foreign.after(found(), planned, AFTER, AFTER, "mynet")
    assert (theirs.tables, theirs.appended) == (found().tables, found().appended)


def test_an_address_whose_network_route_they_have_removed_is_not_connected() -> None:
    assert found().addresses[0].connected
    assert not found(then=replace(AFTER, routes=(TO_NODE2,))).addresses[0].connected


def test_the_plan_is_seen_with_what_they_made_and_stays_itself_where_they_made_nothing() -> None:
    plain = Plan(name="lab", seed=1, netns={"node1": PLANNED})
    assert foreign.foreseen(plain) is plain
    seen = foreign.foreseen(replace(plain, netns={"node1": replace(PLANNED, foreign=found())})).netns["node1"]
    assert seen.links == (UPLINK, CNI0, VETH) and seen.foreign is None


def test_what_is_missing_of_theirs_is_told_with_who_made_it_and_a_lost_link_is_not_written() -> None:
    wanted = replace(PLANNED, foreign=found(), tables=AFTER.tables)
    assert drift.drift(wanted, AFTER) == ()
    (link,) = drift.drift(wanted, replace(AFTER, links=(UPLINK, CNI0)))
    assert link.what == "link veth1 (by the plugins of mynet)" and link.got == drift.MISSING
    assert link.change.added == ()
    (address,) = drift.drift(wanted, replace(AFTER, addresses=()))
    assert address.change.added == (GATEWAY,)
