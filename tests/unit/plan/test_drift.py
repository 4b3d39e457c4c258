from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from emu.netfilter.model import Chain, Rule, Table
from emu.plan import drift
from emu.plan.model import Address, FdbEntry, Link, Neighbor, NetnsKind, NetnsPlan, PolicyRule, Role, Route, Sysctl

ROUTE = Route(dst=ip_network("10.244.2.0/24"), via=ip_address("10.244.2.0"), dev="flannel.1", onlink=True)
LINK = Link(name="flannel.1", kind="vxlan", role=Role.TUNNEL, owner="node1", mac="02:00:00:00:00:01")
WANTED = NetnsPlan(
    name="node1",
    kind=NetnsKind.NODE,
    owner="node1",
    links=(LINK,),
    addresses=(Address(dev="flannel.1", address=ip_interface("10.244.1.0/32")),),
    routes=(ROUTE,),
    neighbors=(Neighbor(dev="flannel.1", address=ip_address("10.244.2.0"), mac="02:00:00:00:00:02"),),
    fdb=(FdbEntry(dev="flannel.1", mac="02:00:00:00:00:02", dst=ip_address("192.168.100.12")),),
    sysctls=(Sysctl(key="net.ipv4.ip_forward", value="1"),),
)


def found(actual: NetnsPlan) -> list[str]:
    return [str(each) for each in drift.drift(WANTED, actual)]


def test_a_kernel_as_planned_has_no_drift() -> None:
    assert found(WANTED) == []


def test_what_the_kernel_adds_by_itself_is_no_drift() -> None:
    actual = replace(
        WANTED,
        links=(LINK, Link(name="lo", kind="loopback", role=Role.UPLINK, owner="node1")),
        addresses=(*WANTED.addresses, Address(dev="flannel.1", address=ip_interface("fe80::1/64"))),
        routes=(
            replace(ROUTE, protocol="boot"),
            Route(dst=ip_network("10.244.1.0/24"), dev="cni0", scope="link", protocol="kernel"),
            Route(dst=ip_network("10.244.1.1/32"), dev="cni0", table=255, protocol="kernel"),
        ),
        rules=(PolicyRule(priority=32766, table=254),),
    )
    assert found(actual) == []


def test_a_missing_route_is_named_and_comes_with_its_repair() -> None:
    (each,) = drift.drift(WANTED, replace(WANTED, routes=()))
    assert str(each) == "node1: route 10.244.2.0/24: missing: 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"
    assert each.change.added == (ROUTE,)


def test_a_changed_neighbor_a_changed_fdb_entry_and_a_changed_sysctl_are_named() -> None:
    actual = replace(
        WANTED,
        neighbors=(replace(WANTED.neighbors[0], mac="02:00:00:00:00:99"),),
        fdb=(replace(WANTED.fdb[0], dst=ip_address("192.168.100.99")),),
        sysctls=(Sysctl(key="net.ipv4.ip_forward", value="0"),),
    )
    assert found(actual) == [
        "node1: sysctl net.ipv4.ip_forward: wanted 1, got 0",
        "node1: neighbor 10.244.2.0 dev flannel.1: wanted 10.244.2.0 dev flannel.1 lladdr 02:00:00:00:00:02 PERMANENT,"
        " got 10.244.2.0 dev flannel.1 lladdr 02:00:00:00:00:99 PERMANENT",
        "node1: FDB entry 02:00:00:00:00:02 dev flannel.1: wanted 02:00:00:00:00:02 dev flannel.1"
        " dst 192.168.100.12 self permanent, got 02:00:00:00:00:02 dev flannel.1 dst 192.168.100.99 self permanent",
    ]


def test_a_route_nobody_planned_is_named_and_its_repair_removes_it() -> None:
    extra = Route(dst=ip_network("10.9.0.0/16"), type="blackhole")
    (each,) = drift.drift(WANTED, replace(WANTED, routes=(ROUTE, extra)))
    assert str(each) == "node1: route 10.9.0.0/16: not in the plan: blackhole 10.9.0.0/16"
    assert each.change.removed == (extra,)


def test_a_link_that_is_gone_is_repaired_with_all_that_hung_on_it() -> None:
    actual = replace(WANTED, links=(), addresses=(), routes=(), neighbors=(), fdb=())
    repair = drift.drift(WANTED, actual)[0].change.added
    assert repair == (LINK, *WANTED.addresses, ROUTE, *WANTED.neighbors, *WANTED.fdb)


def test_what_went_down_with_a_link_is_told_and_mended_with_it() -> None:
    actual = replace(WANTED, links=(replace(LINK, up=False),), routes=())
    (each,) = drift.drift(WANTED, actual)
    assert str(each) == "node1: link flannel.1: wanted up, got down"
    assert each.change.added == (LINK, ROUTE)


def test_a_link_drift_says_what_is_different_and_nothing_else() -> None:
    port = Link(name="veth1", kind="veth", role=Role.HOST_VETH, owner="default/web", master="cni0", hairpin=True)
    wanted = replace(WANTED, links=(*WANTED.links, port))
    actual = replace(WANTED, links=(*WANTED.links, replace(port, hairpin=False, mtu=1400)))
    (each,) = drift.drift(wanted, actual)
    assert str(each) == "node1: link veth1: wanted mtu 1500, hairpin on, got mtu 1400, hairpin off"


def test_a_bridge_whose_last_port_has_gone_has_ethernets_mtu_and_that_is_no_drift() -> None:
    bridge = Link(name="cni0", kind="bridge", role=Role.BRIDGE, owner="node1", mtu=1450)
    port = Link(name="veth1", kind="veth", role=Role.HOST_VETH, owner="default/a", master="cni0", peer=("pod", "eth0"))
    wanted = replace(WANTED, links=(LINK, bridge))
    assert drift.drift(wanted, replace(WANTED, links=(LINK, replace(bridge, mtu=1500)))) == ()
    (each,) = drift.drift(wanted, replace(WANTED, links=(LINK, replace(bridge, mtu=1400))))
    assert str(each) == "node1: link cni0: wanted mtu 1450, got mtu 1400"
    (each,) = drift.drift(wanted, replace(WANTED, links=(LINK, replace(bridge, mtu=1500, up=False))))
    assert each.what == "link cni0"
    told = drift.drift(
        replace(wanted, links=(LINK, bridge, port)), replace(WANTED, links=(LINK, replace(bridge, mtu=1500), port))
    )
    assert [str(each) for each in told] == ["node1: link cni0: wanted mtu 1450, got mtu 1500"]


def test_a_route_the_kernel_made_for_an_address_is_missed_when_only_it_is_gone() -> None:
    bridge = Link(name="cni0", kind="bridge", role=Role.BRIDGE, owner="node1")
    address = Address(dev="cni0", address=ip_interface("10.244.1.1/24"))
    wanted = replace(WANTED, links=(LINK, bridge), addresses=(*WANTED.addresses, address))
    (each,) = drift.drift(wanted, wanted)
    text = "10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1"
    assert str(each) == f"node1: route 10.244.1.0/24: missing: {text}"
    assert [drift.same(route, route) for route in each.change.added] == [True]


def test_an_address_that_brings_no_route_misses_none_and_one_that_brings_it_is_made_anew() -> None:
    bridge = Link(name="cni0", kind="bridge", role=Role.BRIDGE, owner="node1")
    address = Address(dev="cni0", address=ip_interface("10.244.1.1/24"), prefix_route=False)
    wanted = replace(WANTED, links=(LINK, bridge), addresses=(*WANTED.addresses, address))
    assert drift.drift(wanted, wanted) == ()
    other = replace(address, prefix_route=True)
    told = drift.drift(wanted, replace(wanted, addresses=(*WANTED.addresses, other)))
    assert [str(each) for each in told] == [
        "node1: address 10.244.1.1/24: missing: 10.244.1.1/24 dev cni0 noprefixroute",
        "node1: address 10.244.1.1/24: not in the plan: 10.244.1.1/24 dev cni0",
    ]
    assert [(each.change.added, each.change.removed) for each in told] == [((address,), ()), ((), (other,))]


def test_a_rule_drift_names_table_and_chain() -> None:
    drop = Rule(target="DROP")
    wanted = replace(WANTED, tables=(Table(4, "filter", (Chain("FORWARD", (drop,), policy="ACCEPT"),)),))
    (each,) = drift.drift(wanted, replace(wanted, tables=()))
    assert str(each) == "node1: iptables -t filter, chain FORWARD: missing: -A FORWARD -j DROP"
