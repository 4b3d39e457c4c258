"""Calico VXLAN and Canal, as `ip` and `bridge` would print them on a real Node."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest
import shipped
from cluster_world import cluster as resolved
from cluster_world import pod, topology

from emu import planners
from emu.api.cnimodes import CNI_MODES
from emu.api.topology import Cni, Ranges
from emu.errors import InputError
from emu.netfilter import text
from emu.plan import render
from emu.plan.model import NetnsPlan, Plan, Role
from emu.planners.cni import MODES, canal

TWO, RACKS, CANAL = "two-node-calico-vxlan", "two-racks-calico-vxlan-cross-subnet", "two-node-canal"


def routes(of: NetnsPlan) -> list[str]:
    return [render.route(route) for route in of.routes if not route.dev.startswith("cali")]


def built(*objects: object, **options: object) -> Plan:
    cni = Cni(mode="calico-vxlan", options=options)
    return planners.build(resolved(*objects, topo=topology(2, cni=cni)))  # type: ignore[arg-type]


def test_the_tunnel_is_calicos() -> None:
    node = shipped.plan(TWO).netns["node1"]
    tunnel = node.link("vxlan.calico")
    assert tunnel is not None and tunnel.vxlan is not None
    assert (tunnel.vxlan.vni, tunnel.vxlan.port, tunnel.vxlan.learning, tunnel.mtu) == (4096, 4789, False, 1450)
    assert tunnel.mac == "66:f9:37:c3:7e:94"  # sha1sum <<< node1, behind 66
    assert [str(each.address) for each in node.addresses if each.dev == "vxlan.calico"] == ["10.244.1.0/32"]


def test_a_node_has_a_blackhole_for_its_block_and_a_route_for_each_other() -> None:
    assert routes(shipped.plan(TWO).netns["node1"]) == [
        "default via 192.168.100.1 dev eth0",
        "10.244.2.0/26 via 10.244.2.0 dev vxlan.calico onlink",
        "blackhole 10.244.1.0/26 proto 80",
    ]


def test_each_other_node_has_a_neighbor_and_an_fdb_entry() -> None:
    plan = shipped.plan(TWO)
    node, theirs = plan.netns["node1"], plan.netns["node2"].link("vxlan.calico")
    assert theirs is not None
    assert [render.neighbor(each) for each in node.neighbors] == [
        f"10.244.2.0 dev vxlan.calico lladdr {theirs.mac} PERMANENT"
    ]
    assert [render.fdb(each) for each in node.fdb] == [
        f"{theirs.mac} dev vxlan.calico dst 192.168.100.12 self permanent"
    ]


def test_there_is_no_bridge_and_every_pod_has_a_route() -> None:
    node = shipped.plan(TWO).netns["node1"]
    pods = [link for link in node.links if link.role is Role.HOST_VETH]
    assert {link.kind for link in node.links} == {"veth", "vxlan"}
    assert [route.dev for route in node.routes if route.dev.startswith("cali")] == [link.name for link in pods]


def test_with_cross_subnet_the_tunnel_is_only_for_the_other_rack() -> None:
    assert routes(shipped.plan(RACKS).netns["node1"])[1:4] == [
        "10.244.2.0/26 via 192.168.100.12 dev eth0 proto 80 onlink",
        "10.244.3.0/26 via 10.244.3.0 dev vxlan.calico onlink",
        "10.244.4.0/26 via 10.244.4.0 dev vxlan.calico onlink",
    ]


def test_a_borrowed_address_has_a_route_of_its_own() -> None:
    plan = built(pod("a", node_name="node1"), pod("b", node_name="node2", ip="10.244.1.9"))
    assert "10.244.1.9 via 10.244.2.0 dev vxlan.calico onlink" in routes(plan.netns["node1"])


def test_a_smaller_block_can_be_asked_for() -> None:
    assert "blackhole 10.244.1.0/29 proto 80" in routes(built(block_size=29).netns["node1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cross_subnet": "yes"}, "cni.options.cross_subnet is yes, must be true or false"),
        ({"ipip": True}, "cni calico-vxlan: unknown option ipip"),
    ],
)
def test_an_option_that_is_none_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(**options)


def test_ipv6_has_a_tunnel_of_its_own_and_pods_the_smaller_mtu() -> None:
    ranges = Ranges(
        nodes=("192.168.100.0/24", "fd00:100::/64"),
        pods=("10.244.0.0/16", "fd00:10:244::/56"),
        services=("10.96.0.0/12", "fd00:10:96::/112"),
    )
    topo = topology(2, cni=Cni(mode="calico-vxlan"), family="ipv4-ipv6", ranges=ranges)
    plan = planners.build(resolved(pod("a"), topo=topo))
    node, inside = plan.netns["node1"], plan.netns["default.a"]
    mtus = {link.name: link.mtu for link in node.links if link.role is Role.TUNNEL}
    assert mtus == {"vxlan.calico": 1450, "vxlan-v6.calico": 1430}
    assert [link.mtu for link in inside.links] == [1430]


def mtus(plan: Plan) -> set[tuple[Role, int]]:
    wanted = (Role.POD_ETH, Role.HOST_VETH, Role.TUNNEL)
    return {(link.role, link.mtu) for netns in plan.netns.values() for link in netns.links if link.role in wanted}


def test_veth_mtu_is_that_of_pods_and_of_calicos_own_tunnel_as_far_as_there_is_room() -> None:
    assert mtus(built(pod("a"), veth_mtu=1400)) == {(Role.POD_ETH, 1400), (Role.HOST_VETH, 1400), (Role.TUNNEL, 1400)}
    assert mtus(built(pod("a"), veth_mtu=1500)) == {(Role.POD_ETH, 1500), (Role.HOST_VETH, 1500), (Role.TUNNEL, 1450)}


def test_canals_pods_have_the_uplinks_mtu_for_felix_knows_nothing_of_flannels_tunnel() -> None:
    assert mtus(shipped.plan(CANAL)) == {(Role.POD_ETH, 1500), (Role.HOST_VETH, 1500), (Role.TUNNEL, 1450)}


def test_every_calico_mode_has_a_tunnel_address_only_where_it_has_a_tunnel() -> None:
    assert {mode.name: sorted(mode.tunnels) for mode in CNI_MODES if mode.ipam == "calico"} == {
        "calico-vxlan": [4, 6], "calico-ipip": [4], "calico-bgp": [],
    }  # fmt: skip


def test_canal_has_calicos_pods_and_flannels_nodes() -> None:
    assert canal in MODES
    node = shipped.plan(CANAL).netns["node1"]
    assert routes(node) == ["default via 192.168.100.1 dev eth0", "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"]
    assert {link.name for link in node.links if link.role is Role.TUNNEL} == {"flannel.1"}
    assert {each.name: len(each.members) for each in node.sets} == {
        "cali40masq-ipam-pools": 0, "cali40all-ipam-pools": 0,
    }  # fmt: skip
    forward = next(table for table in node.tables if table.name == "filter").chain("FORWARD")
    assert forward is not None
    targets = [text.rule("", "FORWARD", rule).partition(" -j ")[2] for rule in forward.rules]
    assert (targets[0], targets[-3:]) == (
        "cali-FORWARD",
        ["FLANNEL-FWD", "ACCEPT", "MARK --set-xmark 0x10000/0x10000"],
    )


def test_canals_addresses_are_host_locals() -> None:
    (first, *_) = (each for each in shipped.cluster(CANAL).pods if each.node == "node1")
    assert ip_address("10.244.1.2") <= first.addresses[0] and not shipped.cluster(CANAL).nodes[0].blocks
    (inside,) = shipped.plan(CANAL).netns[f"{first.namespace}.{first.name}"].addresses
    assert inside == replace(inside, address=ip_interface(f"{first.addresses[0]}/32"))
