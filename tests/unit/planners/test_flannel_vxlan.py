"""Flannel's VXLAN mode, as `ip` and `bridge` would print it on a real Node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clusters import cluster

from emu import names, planners
from emu.api.topology import Cni
from emu.errors import InputError
from emu.netfilter import text
from emu.plan import render
from emu.plan.model import NetnsPlan, Plan, Role


def netns(plan: Plan, name: str) -> NetnsPlan:
    return plan.netns[name]


def routes(of: NetnsPlan) -> list[str]:
    return [f"{r.dst} via {r.via} dev {r.dev}{' onlink' if r.onlink else ''}" for r in of.routes]


def chain(of: NetnsPlan, table: str, name: str) -> list[str]:
    found = next(t for t in of.tables if t.name == table)
    return [text.rule("", name, rule) for rule in found.chain(name).rules]  # type: ignore[union-attr]


def test_the_tunnel_is_flannels() -> None:
    tunnel = netns(planners.build(cluster()), "node1").link("flannel.1")
    assert tunnel is not None and tunnel.vxlan is not None
    assert (tunnel.vxlan.vni, tunnel.vxlan.port, tunnel.vxlan.dev, tunnel.vxlan.learning) == (1, 8472, "eth0", False)
    assert str(tunnel.vxlan.local) == "192.168.100.11"
    assert (tunnel.mtu, tunnel.role) == (1450, Role.TUNNEL)


def test_each_other_node_has_a_route_a_neighbor_and_an_fdb_entry() -> None:
    plan = planners.build(cluster(nodes=3))
    node1, theirs = netns(plan, "node1"), [netns(plan, f"node{n}").link("flannel.1").mac for n in (2, 3)]  # type: ignore[union-attr]
    assert routes(node1) == [
        "0.0.0.0/0 via 192.168.100.1 dev eth0",
        "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
        "10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink",
    ]
    assert [(str(n.address), n.mac) for n in node1.neighbors] == list(
        zip(["10.244.2.0", "10.244.3.0"], theirs, strict=True)
    )
    assert [(f.mac, str(f.dst)) for f in node1.fdb] == list(
        zip(theirs, ["192.168.100.12", "192.168.100.13"], strict=True)
    )


def test_addresses_of_a_node() -> None:
    node2 = netns(planners.build(cluster()), "node2")
    assert {(a.dev, str(a.address)) for a in node2.addresses} == {
        ("eth0", "192.168.100.12/24"),
        ("flannel.1", "10.244.2.0/32"),
        ("cni0", "10.244.2.1/24"),
    }


def test_a_pod_is_joined_as_the_bridge_plugin_does() -> None:
    plan = planners.build(cluster())
    pod, node = netns(plan, "default.web-1-0"), netns(plan, "node1")
    assert [(a.dev, str(a.address)) for a in pod.addresses] == [("eth0", "10.244.1.2/24")]
    assert routes(pod) == ["0.0.0.0/0 via 10.244.1.1 dev eth0", "10.244.0.0/16 via 10.244.1.1 dev eth0"]
    inside, outside = pod.link("eth0"), node.link(names.host_veth(7, "default", "web-1-0"))
    assert inside is not None and outside is not None
    assert (outside.master, outside.hairpin, outside.mtu, outside.owner) == ("cni0", True, 1450, "default/web-1-0")
    assert (inside.peer, outside.peer) == (("node1", outside.name), ("default.web-1-0", "eth0"))


def test_flannels_rules_are_those_of_the_real_one() -> None:
    node1 = netns(planners.build(cluster()), "node1")
    masq = '-m comment --comment "flanneld masq"'
    assert chain(node1, "nat", "FLANNEL-POSTRTG") == [
        f"-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 {masq} -j MASQUERADE --random-fully",
        f"-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 {masq} -j MASQUERADE --random-fully",
    ]
    assert chain(node1, "filter", "FORWARD")[-1] == (
        '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD'
    )
    assert [line.split(" -j ")[1] for line in chain(node1, "nat", "POSTROUTING")] == [
        "KUBE-POSTROUTING",
        "FLANNEL-POSTRTG",
    ]


def test_a_dual_stack_node_has_a_second_device() -> None:
    node1 = netns(planners.build(cluster(family="ipv4-ipv6")), "node1")
    tunnels = {link.name: link.mtu for link in node1.links if link.kind == "vxlan"}
    assert tunnels == {"flannel.1": 1450, "flannel-v6.1": 1430}
    assert "fd00:10:244:2::/64 via fd00:10:244:2:: dev flannel-v6.1 onlink" in routes(node1)
    assert {table.family for table in node1.tables} == {4, 6}
    assert not any("disable_ipv6" in sysctl.key for sysctl in node1.sysctls)


def test_options_are_refused_by_name() -> None:
    base = cluster()
    wrong = replace(base, topology=replace(base.topology, cni=Cni(options={"Port": 4789})))
    with pytest.raises(InputError, match="unknown option Port"):
        planners.build(wrong)


def test_every_name_fits_and_every_veth_has_its_other_end() -> None:
    plan = planners.build(cluster(nodes=3, pods=4))
    for each in plan.netns.values():
        for link in each.links:
            assert len(link.name) <= 15
            assert link.mac
            if link.peer:
                netns_name, ifname = link.peer
                assert plan.netns[netns_name].link(ifname).peer == (each.name, link.name)  # type: ignore[union-attr]
    macs = [link.mac for each in plan.netns.values() for link in each.links]
    assert len(macs) == len(set(macs))


def test_the_plan_renders_as_a_script() -> None:
    script = render.render(planners.build(cluster()))
    assert "flannel.1" in script
    assert "KUBE-SERVICES" in script
