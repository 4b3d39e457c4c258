"""Packets' ways under Cilium, from the planned maps: where they are seen and where not, and what must be found."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest
import shipped

from emu import planners
from emu.plan.ebpf import MapEntry, Value
from emu.plan.model import Plan
from emu.trace.compare import compare
from emu.trace.decisions import REFUSED
from emu.trace.model import CauseKind, Flow, Leg, Verdict
from emu.trace.model import Path as Way
from emu.trace.predict import predict

TUNNEL, NATIVE = "two-node-cilium", "two-node-cilium-native"
CLIENT = "default.client"


def flow(source: str, target: str, port: int = 0, proto: str = "icmp", sport: int = 40000) -> Flow:
    return Flow(netns=source, dst=ip_address(target), proto=proto, dport=port, sport=sport)


def ways(folder: str, asked: Flow) -> tuple[Way, ...]:
    return predict(planners.build(shipped.ready(folder)), asked).paths


def address(name: str, folder: str = TUNNEL) -> str:
    pods = (pod for pod in shipped.ready(folder).pods if pod.name.startswith(name))
    return str(next(pods).addresses[0])


def service(name: str) -> str:
    return str(next(each.cluster_ip for each in shipped.ready(TUNNEL).frontends if each.service == name))


def places(leg: Leg | None) -> list[str]:
    assert leg is not None
    return [re.sub("lxc[0-9a-f]{12}", "lxc…", str(hop.point)) for hop in leg.hops]


def found(leg: Leg) -> list[str]:
    every = (*leg.origin, *(cause for hop in leg.hops for cause in hop.causes))
    return [cause.text.split(" → ")[0] for cause in every if cause.kind is CauseKind.EBPF]


def test_to_another_node_the_packet_is_in_the_tunnel_and_at_no_lxc_of_the_receiver() -> None:
    (way,) = ways(TUNNEL, flow(CLIENT, address("client2")))
    assert places(way.forward) == [
        "default/client:eth0",
        "node1:lxc…",
        "node1:cilium_vxlan",
        "node1:eth0",
        "fabric:fabric-node1",
        "fabric:fabric-node2",
        "node2:eth0",
        "node2:cilium_vxlan",
        "default/client2:eth0",
    ]
    assert [hop.inner.ttl for hop in way.forward.hops][-2:] == [64, 63]  # the tunnel takes nothing
    assert found(way.forward) == [
        f"cil_from_container: cilium_ipcache {address('client2')}",
        f"cil_from_overlay: cilium_lxc {address('client2')}",
    ]


def test_the_vni_is_the_senders_identity() -> None:
    (way,) = ways(TUNNEL, flow(CLIENT, address("nginx"), 80, "tcp"))
    assert way.reply is not None
    vnis = [{hop.encapsulation.vni for hop in leg.hops if hop.encapsulation} for leg in (way.forward, way.reply)]
    assert vnis == [{31143}, {3489}]


def test_on_the_same_node_it_goes_from_one_lxc_straight_into_the_other_pod() -> None:
    (way,) = ways(TUNNEL, flow(CLIENT, address("netshoot")))
    assert places(way.forward) == ["default/client:eth0", "node1:lxc…", f"default/{pod('netshoot')}:eth0"]
    assert way.forward.hops[-1].inner.ttl == 63


def pod(name: str) -> str:
    return next(each.name for each in shipped.ready(TUNNEL).pods if each.name.startswith(name))


def test_in_native_routing_the_uplink_shows_the_pods_own_packet() -> None:
    (way,) = ways(NATIVE, flow(CLIENT, address("client2", NATIVE)))
    assert places(way.forward)[1:3] == ["node1:lxc…", "node1:eth0"]
    assert not any(hop.encapsulation for hop in way.forward.hops)
    assert [hop.inner.ttl for hop in way.forward.hops] == [64, 64, 63, 63, 63, 63, 62]


def test_a_service_is_a_backend_before_there_is_a_packet() -> None:
    first, second = ways(TUNNEL, flow(CLIENT, service("web"), 80, "tcp"))
    ends = {(str(way.forward.hops[0].inner.dst), way.forward.hops[0].inner.dport) for way in (first, second)}
    assert len(ends) == 2 and all(port == 8080 for _, port in ends)
    assert [way.forward.probability for way in (first, second)] == [0.5, 0.5]
    assert found(first.forward)[0] == f"cil_sock4_connect: cilium_lb4_services_v2 {service('web')}:80/TCP (0)"


def test_connecting_to_a_service_without_backends_fails_and_nothing_is_sent() -> None:
    (way,) = ways(TUNNEL, flow(CLIENT, service("empty"), 80, "tcp"))
    assert (way.forward.hops, way.forward.verdict, way.reply) == ((), Verdict.REJECTED, None)
    assert [cause.effect for cause in way.forward.origin] == [REFUSED]


def test_a_ping_of_a_service_is_no_socket_call_that_is_translated() -> None:
    (way,) = ways(TUNNEL, flow(CLIENT, service("web")))
    assert str(way.forward.hops[0].inner.dst) == service("web")
    assert way.forward.verdict is Verdict.DROPPED


def test_a_pod_that_leaves_the_cluster_is_masqueraded_and_its_answer_goes_straight_into_it() -> None:
    (way,) = ways(TUNNEL, flow(CLIENT, "192.168.100.12"))
    assert {str(hop.inner.src) for hop in way.forward.hops[2:]} == {"192.168.100.11"}
    assert places(way.reply)[-2:] == ["node1:eth0", "default/client:eth0"]
    assert found(way.forward)[-1] == "cil_to_netdev: cilium_snat_v4 ICMP OUT 10.244.1.3:40000 -> 192.168.100.12:40000"


def test_an_icmp_error_about_a_masqueraded_packet_goes_straight_into_the_pod() -> None:
    refused = next(way for way in ways(TUNNEL, flow(CLIENT, "192.168.100.12", 53, "udp")) if "unreachable" in told(way))
    assert places(refused.reply)[-2:] == ["node1:eth0", "default/client:eth0"]
    assert refused.reply and str(refused.reply.hops[-1].inner.dst) == "10.244.1.3"
    assert found(refused.reply)[0] == "cil_from_netdev: cilium_snat_v4 UDP IN 192.168.100.12:53 -> 192.168.100.11:40000"


def told(way: Way) -> str:
    return way.reply.hops[-1].inner.note if way.reply and way.reply.hops else ""


def test_a_low_source_port_is_not_kept() -> None:
    kept, changed = (ways(TUNNEL, flow(CLIENT, "192.168.100.12", 22, "tcp", sport))[0] for sport in (40000, 1000))
    assert (kept.forward.hops[-1].inner.sport, changed.forward.hops[-1].inner.sport) == (40000, 0)


def test_a_node_speaks_to_pods_with_its_address_among_them() -> None:
    (near,) = ways(TUNNEL, flow("node1", address("client")))
    (far,) = ways(TUNNEL, flow("node1", address("client2")))
    assert [str(way.forward.hops[0].inner.src) for way in (near, far)] == ["10.244.1.1", "10.244.1.1"]
    assert places(near.forward) == ["node1:lxc…", "default/client:eth0"]
    assert places(far.forward)[0] == "node1:cilium_vxlan"
    assert places(far.reply)[-1] == "node1:cilium_host"
    assert {hop.encapsulation.vni for hop in far.forward.hops if hop.encapsulation} == {6}


def test_an_address_that_no_pod_has_is_dropped_by_the_program_at_cilium_host() -> None:
    (way,) = ways(TUNNEL, flow(CLIENT, "10.244.1.200"))
    assert places(way.forward) == ["default/client:eth0", "node1:lxc…"]
    assert way.forward.reason == "node1: cil_from_host: no Pod has 10.244.1.200"


def changed(plan: Plan, netns: str, entry: MapEntry) -> Plan:
    maps = tuple(entry if (each.map, each.key) == (entry.map, entry.key) else each for each in plan.netns[netns].maps)
    return replace(plan, netns={**plan.netns, netns: replace(plan.netns[netns], maps=maps)})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ((31143, IPv4Address("192.168.100.99")), "last seen at node1:cilium_vxlan"),  # to nobody
        ((2, IPv4Address("192.168.100.12")), "no program found the expected entry: cil_from_container: cilium_ipcache"),
    ],
)
def test_a_packet_for_which_another_entry_was_found_is_not_the_predicted_one(
    value: tuple[Value, ...], says: str
) -> None:
    """The second is at the same places, with the same headers."""
    asked = flow(CLIENT, address("client2"))
    plan = planners.build(shipped.ready(TUNNEL))
    key = IPv4Network(address("client2"))
    (other,) = predict(changed(plan, "node1", MapEntry(map="cilium_ipcache", key=(key,), value=value)), asked).paths
    good = predict(plan, asked)
    assert compare(good, good.paths[0], plan.netns.keys()) == (0, None)
    index, difference = compare(good, other, plan.netns.keys())
    assert index is None and difference is not None and says in difference.what, difference
