"""Two racks behind a router: what each Flannel mode plans, and where its packets end, as predicted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import shipped
from clusters import cluster

from emu import planners
from emu.api.topology import Cni, Fabric, NodeEntry, Ranges, RouterEntry
from emu.cluster.nodes import nodes
from emu.cluster.routers import routers
from emu.errors import InputError
from emu.names import pod_netns
from emu.plan import expectations
from emu.plan.diff import diff
from emu.plan.drift import drift
from emu.plan.model import NetnsPlan, Plan, Refusal
from emu.trace.model import Flow, Hop, Path, Verdict
from emu.trace.predict import predict

HOST_GW, VXLAN, DIRECT = (f"two-racks-flannel-{mode}" for mode in ("host-gw", "vxlan", "direct-routing"))


def routes(netns: NetnsPlan) -> list[str]:
    return [f"{r.dst} via {r.via} dev {r.dev}" for r in netns.routes if r.dst.prefixlen]


def pod_on(folder: str, node: str) -> tuple[str, str]:
    """(netns, address) of some Pod there."""
    pod = next(each for each in shipped.cluster(folder).pods if each.node == node)
    return pod_netns(pod.namespace, pod.name), str(pod.addresses[0])


def ping(folder: str, netns: str, address: str) -> Path:
    (path,) = predict(shipped.plan(folder), Flow(netns=netns, dst=ip_address(address), proto="icmp")).paths
    return path


def places(hops: tuple[Hop, ...]) -> list[str]:
    return [f"{hop.direction} {hop.point}" for hop in hops]


def test_a_node_has_the_number_of_its_place_in_its_racks_network_and_its_router_as_gateway() -> None:
    plan = shipped.plan(VXLAN)
    shown = {name: str(plan.netns[name].addresses[0].address) for name in ("node1", "node4")}
    assert shown == {"node1": "192.168.100.11/24", "node4": "192.168.101.14/24"}
    assert [str(plan.netns[name].routes[0].via) for name in ("node1", "node4")] == ["192.168.100.1", "192.168.101.1"]
    assert not any("router" in note for note in plan.notes)


def test_host_gw_routes_within_the_rack_and_is_refused_across_the_router() -> None:
    node1 = shipped.plan(HOST_GW).netns["node1"]
    assert routes(node1) == ["10.244.2.0/24 via 192.168.100.12 dev eth0"]
    assert [(str(each.route.dst), str(each.route.via), each.error) for each in node1.refused] == [
        ("10.244.3.0/24", "192.168.101.13", "Nexthop has invalid gateway"),
        ("10.244.4.0/24", "192.168.101.14", "Nexthop has invalid gateway"),
    ]


def test_direct_routing_keeps_the_tunnel_for_the_other_rack_alone() -> None:
    node1 = shipped.plan(DIRECT).netns["node1"]
    assert routes(node1) == [
        "10.244.2.0/24 via 192.168.100.12 dev eth0",
        "10.244.3.0/24 via 10.244.3.0 dev flannel.1",
        "10.244.4.0/24 via 10.244.4.0 dev flannel.1",
    ]
    assert [str(each.dst) for each in node1.fdb] == ["192.168.101.13", "192.168.101.14"]
    assert [str(each.address) for each in node1.neighbors] == ["10.244.3.0", "10.244.4.0"]


@pytest.mark.parametrize(("folder", "mtu"), [(HOST_GW, 1500), (VXLAN, 1450), (DIRECT, 1450)])
def test_pods_have_the_mtu_of_the_mode(folder: str, mtu: int) -> None:
    plan = shipped.plan(folder)
    assert {link.mtu for each in plan.netns.values() for link in each.links if link.owner == "default/client"} == {mtu}
    assert plan.netns["node1"].link("cni0").mtu == mtu  # type: ignore[union-attr]


def test_every_route_that_will_be_refused_is_told_in_words() -> None:
    lines = expectations.told(shipped.plan(HOST_GW), most=1)
    assert lines == (
        "node1: the kernel refuses ip route replace 10.244.3.0/24 via 192.168.101.13 dev eth0 "
        "(Nexthop has invalid gateway): 192.168.101.13 is across a router, not in node1's network 192.168.100.0/24",
        "… and 7 more routes that the kernel refuses (emu check)",
    )
    assert expectations.told(shipped.plan(VXLAN)) == ()


def test_a_refused_route_is_tried_and_is_drift_only_when_it_is_there() -> None:
    plan = shipped.plan(HOST_GW)
    (change,) = (each for each in diff(None, plan).netns if each.name == "node1")
    refused = [each for each in change.added if isinstance(each, Refusal)]
    assert len(refused) == 2
    node1 = plan.netns["node1"]
    taken = replace(node1, routes=(*node1.routes, refused[0].route))
    as_planned = {str(each) for each in drift(node1, node1)}
    assert {str(each) for each in drift(node1, taken)} - as_planned == {
        "node1: route 10.244.3.0/24: not in the plan: 10.244.3.0/24 via 192.168.101.13 dev eth0"
    }
    assert not any("10.244.3.0" in each for each in as_planned)


def test_under_host_gw_the_router_drops_a_pods_packet_and_cannot_tell_the_pod() -> None:
    (client, source), (_, target) = pod_on(HOST_GW, "node1"), pod_on(HOST_GW, "node3")
    path = ping(HOST_GW, client, target)
    assert path.forward.verdict is Verdict.DROPPED
    assert path.forward.reason == f"r1 has no route to {target}, and none back to {source}: it tells nobody"
    assert places(path.forward.hops)[-1] == "in r1:eth0"
    assert path.reply is None
    leaving = next(hop for hop in path.forward.hops if str(hop.point) == "node1:cni0")
    assert [cause.effect for cause in leaving.causes if cause.kind == "route"] == [
        "to eth0, for the kernel refused 10.244.3.0/24 via 192.168.101.13 dev eth0 (Nexthop has invalid gateway)"
    ]


def test_under_host_gw_the_router_answers_a_node_that_the_network_is_unreachable() -> None:
    path = ping(HOST_GW, "node1", pod_on(HOST_GW, "node3")[1])
    assert (path.forward.hops[-1].point.netns, path.forward.verdict) == ("r1", Verdict.REJECTED)
    assert path.reply is not None
    last = path.reply.hops[-1]
    assert (last.inner.note, str(last.inner.src), str(last.inner.dst), str(last.point)) == (
        "unreachable: net",
        "192.168.100.1",
        "192.168.100.11",
        "node1:eth0",
    )


@pytest.mark.parametrize("folder", [VXLAN, DIRECT])
def test_by_vxlan_the_router_routes_the_outer_packet_and_leaves_the_inner_alone(folder: str) -> None:
    path = ping(folder, pod_on(folder, "node1")[0], pod_on(folder, "node3")[1])
    assert path.forward.verdict is Verdict.DELIVERED
    into, out_of = [hop for hop in path.forward.hops if hop.point.netns == "r1"]
    assert (str(into.point), str(out_of.point), out_of.changed) == (
        "r1:eth0",
        "r1:eth1",
        ("outer ttl 64 → 63",),
    )
    assert into.inner == out_of.inner
    assert into.encapsulation and str(into.encapsulation.outer.dst) == "192.168.101.13"


def test_direct_routing_sends_naked_packets_within_the_rack() -> None:
    path = ping(DIRECT, pod_on(DIRECT, "node1")[0], pod_on(DIRECT, "node2")[1])
    assert path.forward.verdict is Verdict.DELIVERED
    assert not any(hop.encapsulation or hop.point.ifname == "flannel.1" for hop in path.forward.hops)


@pytest.mark.parametrize("mode", ["flannel-host-gw", "flannel-vxlan"])
@pytest.mark.parametrize(
    ("options", "message"),
    [({"Port": 4789}, "unknown option Port"), ({"direct_routing": "yes"}, "direct_routing")],
)
def test_options_are_refused_by_name(mode: str, options: dict[str, object], message: str) -> None:
    base = cluster()
    wrong = replace(base, topology=replace(base.topology, cni=Cni(mode=mode, options=options)))
    with pytest.raises(InputError, match=message):
        planners.build(wrong)


def chain(mode: str = "flannel-vxlan") -> Plan:
    """left – r1 – middle – r2 – right, a Node at each end."""
    base = cluster()
    topology = replace(
        base.topology,
        nodes=(NodeEntry(name="node1", switch="left"), NodeEntry(name="node2", switch="right")),
        fabric=Fabric(
            switches=("left", "middle", "right"),
            routers=(
                RouterEntry(name="r1", links=("left", "middle")),
                RouterEntry(name="r2", links=("middle", "right")),
            ),
        ),
        ranges=Ranges(nodes=("192.168.100.0/24", "192.168.101.0/24", "192.168.102.0/24")),
        cni=Cni(mode=mode),
    )
    return planners.build(replace(base, topology=topology, nodes=nodes(topology), routers=routers(topology)))


def test_routers_know_the_way_to_the_node_networks_behind_other_routers() -> None:
    plan = chain()
    assert routes(plan.netns["r1"]) == ["192.168.102.0/24 via 192.168.101.2 dev eth1"]
    assert routes(plan.netns["r2"]) == ["192.168.100.0/24 via 192.168.101.1 dev eth0"]
    (path,) = predict(plan, Flow(netns="default.web-1-0", dst=ip_address("10.244.2.2"), proto="icmp")).paths
    assert path.forward.verdict is Verdict.DELIVERED
    assert [hop.point.netns for hop in path.forward.hops if hop.point.netns.startswith("r")] == ["r1", "r1", "r2", "r2"]
