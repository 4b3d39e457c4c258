from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from emu.netfilter.model import Chain, Rule, Table
from emu.plan import diff
from emu.plan.dns import DnsZone
from emu.plan.model import Address, FdbEntry, Link, Neighbor, NetnsKind, NetnsPlan, Plan, Role, Route, Sysctl, Vxlan

VXLAN = Vxlan(vni=1, local=ip_address("192.168.100.11"), dev="eth0", port=8472)


def link(name: str, kind: str = "veth", **kw: object) -> Link:
    return Link(name=name, kind=kind, role=Role.HOST_VETH, owner="x", **kw)


def node(**kw: object) -> NetnsPlan:
    base = NetnsPlan(
        name="node1",
        kind=NetnsKind.NODE,
        owner="node1",
        links=(link("flannel.1", "vxlan", vxlan=VXLAN), link("veth1", master="cni0"), link("cni0", "bridge")),
        addresses=(Address(dev="cni0", address=ip_interface("10.244.1.1/24")),),
        routes=(
            Route(dst=ip_network("0.0.0.0/0"), via=ip_address("192.168.100.1")),
            Route(dst=ip_network("192.168.100.1/32"), dev="eth0", scope="link"),
        ),
        neighbors=(Neighbor(dev="flannel.1", address=ip_address("10.244.2.0"), mac="02:00:00:00:00:02"),),
        fdb=(FdbEntry(dev="flannel.1", mac="02:00:00:00:00:02", dst=ip_address("192.168.100.12")),),
        sysctls=(
            Sysctl(key="net.ipv6.conf.flannel/1.accept_ra", value="0"),
            Sysctl(key="net.ipv4.ip_forward", value="1"),
        ),
        tables=(Table(4, "filter", (Chain("FORWARD", (), "ACCEPT"),)),),
    )
    return replace(base, **kw)


def plan(*netns: NetnsPlan) -> Plan:
    return Plan(name="t", seed=0, netns={n.name: n for n in netns})


POD = NetnsPlan(name="default.a", kind=NetnsKind.POD, owner="default/a")
FABRIC = NetnsPlan(name="fabric", kind=NetnsKind.FABRIC, owner="fabric")


def test_a_plan_without_changes_makes_no_changes() -> None:
    assert not diff.diff(plan(node()), plan(node()))


def test_an_unchanged_netns_is_not_looked_into() -> None:
    class Untouchable(NetnsPlan):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        __hash__ = NetnsPlan.__hash__

    same = Untouchable(name="node1", kind=NetnsKind.NODE, owner="node1")
    assert not diff.diff(plan(same), plan(same))


def test_new_netns_come_fabric_first_and_gone_ones_pods_first() -> None:
    up = diff.diff(None, plan(POD, node(), FABRIC))
    assert [change.name for change in up.netns] == ["fabric", "node1", "default.a"]
    down = diff.diff(plan(FABRIC, node(), POD), plan())
    assert [(change.name, change.new) for change in down.netns] == [
        ("default.a", None),
        ("node1", None),
        ("fabric", None),
    ]


def test_a_new_netns_lists_everything_in_the_order_the_kernel_takes_it() -> None:
    change = diff.netns(None, node())
    assert change
    assert [getattr(v, "name", getattr(v, "key", type(v).__name__)) for v in change.added] == [
        "net.ipv4.ip_forward",
        "cni0",
        "veth1",
        "flannel.1",
        "net.ipv6.conf.flannel/1.accept_ra",
        "Address",
        "Route",
        "Route",
        "Neighbor",
        "FdbEntry",
    ]
    assert change.added[6].scope == "link"  # the gateway's own route before the route via it
    assert change.tables == ((None, node().tables[0]),)


def test_a_changed_route_replaces_and_a_gone_one_is_removed() -> None:
    old, new = node(), node(routes=(replace(node().routes[0], via=ip_address("192.168.100.2")),))
    change = diff.netns(old, new)
    assert change
    assert change.added == new.routes
    assert change.removed == (old.routes[1],)


def test_a_link_that_changes_its_settings_is_not_made_again() -> None:
    change = diff.netns(node(), node(links=(*node().links[:2], link("cni0", "bridge", mtu=1400))))
    assert change
    assert change.added == (link("cni0", "bridge", mtu=1400),)
    assert change.removed == ()


def test_a_link_made_again_takes_its_entries_with_it() -> None:
    tunnel = link("flannel.1", "vxlan", vxlan=replace(VXLAN, vni=2))
    change = diff.netns(node(), node(links=(tunnel, *node().links[1:])))
    assert change
    assert change.removed == (node().links[0],)
    assert change.added == (tunnel, node().sysctls[0], *node().neighbors, *node().fdb)


def test_what_goes_with_its_link_is_not_removed_by_itself() -> None:
    new = node(links=node().links[1:], neighbors=(), fdb=(), sysctls=node().sysctls[1:])
    change = diff.netns(node(), new)
    assert change
    assert change.removed == (node().links[0],)


def test_only_the_table_that_differs_is_listed() -> None:
    nat = Table(4, "nat", (Chain("PREROUTING", (), "ACCEPT"),))
    filled = Table(4, "nat", (Chain("PREROUTING", (Rule(target="KUBE-SERVICES"),), "ACCEPT"),))
    filter_ = node().tables[0]
    change = diff.netns(node(tables=(filter_, nat)), node(tables=(filter_, filled)))
    assert change
    assert change.tables == ((nat, filled),)
    assert change.added == change.removed == ()


def test_a_new_zone_is_a_change_of_no_netns() -> None:
    old = plan(node())
    changes = diff.diff(old, replace(old, zone=DnsZone(serial=2)))
    assert changes.netns == ()
    assert changes.zone == DnsZone(serial=2)
