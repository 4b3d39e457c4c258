"""Oversized packets, predicted. What the kernel does was read off Linux 6.18 in the same networks
(tests/e2e/test_sizes.py sends them)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
import shipped
from trace_plans import cluster

from emu.plan.model import Link, NetnsPlan, Plan, Role
from emu.trace import sizes
from emu.trace.compare import compare
from emu.trace.model import Flow, Headers, Leg, Path, Verdict
from emu.trace.packet import Packet
from emu.trace.predict import predict

HEADERS = 28  # of IPv4 and ICMP, around what `size` counts


def path(src: str, dst: str, length: int, plan: Plan | None = None, *, df: bool = True, **more: object) -> Path:
    """Of an echo request of that many bytes."""
    header = 48 if ":" in dst else HEADERS
    values = {"proto": "icmp", "size": length - header, "df": df, **more}
    return predict(plan or cluster(), Flow(netns=src, dst=ip_address(dst), **values)).paths[0]  # type: ignore[arg-type]


def with_mtu(plan: Plan, mtu: int, of: Callable[[NetnsPlan, Link], bool]) -> Plan:
    changed = {
        name: replace(netns, links=tuple(replace(link, mtu=mtu) if of(netns, link) else link for link in netns.links))
        for name, netns in plan.netns.items()
    }
    return replace(plan, netns=changed)


def wide_pods(plan: Plan | None = None) -> Plan:
    pod_side = (Role.POD_ETH, Role.HOST_VETH, Role.BRIDGE)
    return with_mtu(plan or cluster(), 1500, lambda _, link: link.role in pod_side)


def pieces(leg: Leg | None) -> dict[str, int]:
    assert leg is not None
    return {f"{hop.point} {hop.direction}": hop.inner.fragments for hop in leg.hops}


def test_what_is_too_long_for_the_pods_own_link_is_refused_before_it_is_sent() -> None:
    assert path("default.a2", "10.244.2.2", 1450).forward.verdict is Verdict.DELIVERED
    forward = path("default.a2", "10.244.2.2", 1451).forward
    assert (forward.hops, forward.verdict, forward.reason) == ((), Verdict.DROPPED, "message too long, mtu 1450")


def test_a_node_says_what_its_tunnel_takes() -> None:
    found = path("default.a2", "10.244.2.2", 1500, wide_pods())
    assert (str(found.forward.hops[-1].point), found.forward.verdict) == ("node1:cni0", Verdict.REJECTED)
    assert found.forward.reason == "node1:flannel.1 takes 1450 bytes, and the packet has 1500"
    assert found.reply is not None
    told = found.reply.hops[-1].inner
    assert (str(told.src), str(told.dst), told.note) == ("10.244.1.1", "10.244.1.2", "fragmentation needed, mtu 1450")


def test_the_answer_to_a_packet_too_long_comes_back_through_nat() -> None:
    """Sent to a Service, and too long for the way to the backend: the error is about the packet as it was sent."""
    asked = Flow(netns="default.a2", dst=ip_address("10.96.0.10"), proto="udp", dport=53, size=1472, df=True)
    (found,) = predict(wide_pods(), asked).paths
    assert found.forward.verdict is Verdict.REJECTED and found.reply is not None
    assert str(found.reply.hops[-1].point) == "default/a2:eth0"
    assert found.reply.hops[-1].inner.note == "fragmentation needed, mtu 1450"


def test_in_pieces_it_arrives_and_conntrack_puts_it_together_in_between() -> None:
    found = path("default.a2", "10.244.2.2", 3000, df=False)
    assert pieces(found.forward) == {
        "default/a2:eth0 out": 3,
        "node1:vetha2 in": 3,
        "node1:cni0 in": 0,
        "node1:flannel.1 out": 3,
        "node1:eth0 out": 3,
        "fabric:fabric-node1 in": 3,
        "fabric:fabric-node2 out": 3,
        "node2:eth0 in": 3,
        "node2:flannel.1 in": 3,
        "node2:cni0 out": 3,
        "node2:vethb2 out": 3,
        "default/b2:eth0 in": 3,
    }
    assert pieces(found.reply)["default/b2:eth0 out"] == 3
    assert found.reply and found.reply.verdict is Verdict.DELIVERED


def test_what_fits_the_pod_and_not_the_tunnel_is_cut_by_the_node() -> None:
    found = pieces(path("default.a2", "10.244.2.2", 1500, wide_pods(), df=False).forward)
    assert [found[at] for at in ("default/a2:eth0 out", "node1:cni0 in", "node1:flannel.1 out")] == [0, 0, 2]


RACKS = "two-racks-flannel-vxlan-narrow-rack"


def test_a_router_cuts_the_packet_around_and_the_answer_vanishes_in_the_switch() -> None:
    plan = shipped.plan(RACKS)
    far = next(str(p.addresses[0]) for p in shipped.cluster(RACKS).pods if p.node == "node3")
    found = path("default.client", far, 1450, plan)
    outer = {str(hop.point): hop.encapsulation.outer.fragments for hop in found.forward.hops if hop.encapsulation}
    assert [outer[at] for at in ("node1:eth0", "r1:eth0", "r1:eth1", "node3:eth0")] == [0, 0, 2, 2]
    assert found.forward.verdict is Verdict.DELIVERED
    assert found.reply is not None
    assert (str(found.reply.hops[-1].point), found.reply.verdict) == ("node3:eth0", Verdict.DROPPED)
    assert found.reply.reason == "fabric:rack2-node3 takes 1400 bytes, and drops 1500 without a word"


@pytest.mark.parametrize(("length", "verdict"), [(1404, Verdict.DELIVERED), (1405, Verdict.DROPPED)])
def test_a_link_takes_as_much_more_as_a_vlan_tag(length: int, verdict: Verdict) -> None:
    assert path("node3", "192.168.101.14", length, shipped.plan(RACKS)).forward.verdict is verdict


def test_a_router_says_what_it_can_pass_on() -> None:
    found = path("node1", "192.168.101.13", 1500, shipped.plan(RACKS))
    assert found.forward.verdict is Verdict.REJECTED
    assert found.reply and found.reply.hops[0].inner.note == "fragmentation needed, mtu 1400"
    cut = pieces(path("node1", "192.168.101.13", 1500, shipped.plan(RACKS), df=False).forward)
    assert [cut[at] for at in ("r1:eth0 in", "r1:eth1 out")] == [0, 2]


def test_of_a_packet_in_ipip_the_router_tells_the_node_and_not_the_pod() -> None:
    """The outer packet has the inner one's "don't fragment"."""
    name = "two-racks-calico-ipip-cross-subnet"
    plan = with_mtu(shipped.plan(name), 1400, lambda netns, link: (netns.name, link.name) == ("r1", "eth1"))
    far = next(str(p.addresses[0]) for p in shipped.cluster(name).pods if p.node == "node3")
    found = path("default.client", far, 1480, plan)
    assert (str(found.forward.hops[-1].point), found.forward.verdict) == ("r1:eth0", Verdict.DROPPED)
    assert found.reply is None


@pytest.mark.parametrize(
    ("length", "largest", "mtu", "cut"),
    [
        (1500, 0, 1500, ()),
        (1500, 0, 1450, (1424, 56)),
        (3000, 0, 1500, (1480, 1480, 20)),
        (1451, 0, 1450, (1424, 7)),
        (3000, 1450, 1500, (1424, 1424, 132)),  # put together of pieces of 1450: no piece is longer than that
        (3000, sizes.UNKNOWN, 1500, (1480, 1480, 20)),
    ],
)
def test_a_packet_is_cut_as_the_kernel_cuts(length: int, largest: int, mtu: int, cut: tuple[int, ...]) -> None:
    packet = Packet(headers(), length=length, largest=largest)
    sizes.cut(packet, mtu)
    assert packet.pieces == cut


def headers() -> Headers:
    return Headers(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.2"), proto="icmp")


def test_pieces_are_cut_again_each_by_itself() -> None:
    packet = Packet(headers(), length=3000)
    sizes.cut(packet, 1500)
    sizes.cut(packet, 1400)
    assert packet.pieces == (1376, 104, 1376, 104, 20)


def test_a_number_of_fragments_that_was_not_predicted_is_a_difference() -> None:
    asked = Flow(netns="default.a2", dst=ip_address("10.244.2.2"), proto="icmp", size=1422)
    whole, narrow = cluster(), with_mtu(cluster(), 1400, lambda _, link: link.role is Role.TUNNEL)
    matched, difference = compare(predict(whole, asked), predict(narrow, asked).paths[0])
    assert matched is None and difference is not None
    assert "node1:flannel.1: expected a whole packet, got 2 fragments" in difference.what


def test_another_limit_than_was_predicted_is_a_difference_though_nothing_was_sent() -> None:
    asked = Flow(netns="default.a2", dst=ip_address("10.244.2.2"), proto="icmp", size=1450, df=True)
    prediction = predict(cluster(), asked)
    said = replace(prediction.paths[0].forward, reason="message too long, mtu 1400")
    matched, difference = compare(prediction, Path(forward=said))
    assert matched is None and difference is not None
    assert difference.what == "forward: expected message too long, mtu 1450, got message too long, mtu 1400"


@pytest.mark.parametrize(("length", "verdict"), [(1450, Verdict.DELIVERED), (1451, Verdict.DROPPED)])
def test_the_mtu_of_the_senders_own_route_counts(length: int, verdict: Verdict) -> None:
    """Cilium's Pods have links of 1500."""
    forward = path("default.client", "10.244.2.3", length, shipped.plan("two-node-cilium")).forward
    assert forward.verdict is verdict
    if verdict is Verdict.DROPPED:
        assert (forward.hops, forward.reason) == ((), "message too long, mtu 1450")


def test_what_may_be_cut_is_cut_to_the_senders_own_route() -> None:
    found = path("default.client", "10.244.2.3", 1500, shipped.plan("two-node-cilium"), df=False)
    assert pieces(found.forward)["default/client:eth0 out"] == 2
    assert pieces(found.reply)["default/client2:eth0 out"] == 2
