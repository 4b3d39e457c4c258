"""The same manifests over every Flannel mode, in one rack and in two: each path is as predicted, also where it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import machine
import pytest
from inside import out, run
from labs import TWO_NODES, Labs

from emu.report.text import summary, trace_text
from emu.testbed.facade import Testbed
from emu.trace.model import TraceResult, Verdict

pytestmark = pytest.mark.root

HOST_GW, VXLAN, DIRECT = (f"two-racks-flannel-{mode}" for mode in ("host-gw", "vxlan", "direct-routing"))


def folder(name: str) -> Path:
    return TWO_NODES.parent / name


def far_pod(lab: Testbed) -> str:
    """The address of a Pod in the other rack."""
    assert lab.cluster
    return str(next(pod.addresses[0] for pod in lab.cluster.pods if pod.node in ("node3", "node4")))


def arrived(results: tuple[TraceResult, ...], kind: str) -> bool:
    (result,) = (each for each in results if each.flow.label.startswith(f"{kind}:"))
    return result.observed.forward.verdict is Verdict.DELIVERED and result.observed.reply is not None


def verified(*expectations: Callable[[tuple[TraceResult, ...]], bool]) -> Callable[[Testbed], None]:
    def inside(lab: Testbed) -> None:
        assert lab.check() == ()
        results = lab.verify()
        assert all(each.ok for each in results), "\n".join(trace_text(r, color=False) for r in results if not r.ok)
        assert all(holds(results) for holds in expectations), summary(results, color=False)

    return inside


def test_host_gw_reaches_every_pod_of_the_rack(testbed: Labs) -> None:
    other_node = verified(lambda results: arrived(results, "Pod to Pod, other Node, ping"))
    testbed(other_node, topology=folder("two-node-flannel-host-gw"))


@pytest.mark.parametrize(("name", "works"), [(VXLAN, True), (DIRECT, True), (HOST_GW, False)])
def test_across_the_router_the_tunnel_works_and_host_gw_does_not(testbed: Labs, name: str, works: bool) -> None:
    def as_expected(results: tuple[TraceResult, ...]) -> bool:
        across = (arrived(results, "Pod to Pod, other rack, ping"), arrived(results, "Node to Pod, other rack"))
        within = (
            arrived(results, "Pod to Pod, other Node, ping"),
            arrived(results, "Pod to a Node of another rack"),
        )
        return across == (works, works) and within == (True, True)

    testbed(verified(as_expected), topology=folder(name))


def test_the_kernel_refuses_the_route_when_asked_again_and_the_trace_says_so(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        asked = run(lab, "node1", "ip route replace 10.244.3.0/24 via 192.168.101.13 dev eth0")
        assert (asked.code, asked.out) == (2, "Error: Nexthop has invalid gateway.\n")
        told = " ".join(trace_text(lab.trace("client", far_pod(lab)), color=False).split())
        assert "for the kernel refused 10.244.3.0/24 via 192.168.101.13 dev eth0 (Nexthop has invalid gateway)" in told
        assert f"dropped: r1 has no route to {far_pod(lab)}" in told

    testbed(inside, topology=folder(HOST_GW))


def test_the_router_answers_a_node_and_stays_silent_to_a_pod(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        from_node, from_pod = (run(lab, name, f"ping -c1 -W1 {far_pod(lab)}").out for name in ("node1", "client"))
        assert "From 192.168.100.1 icmp_seq=1 Destination Net Unreachable" in from_node
        assert "Unreachable" not in from_pod and "100% packet loss" in from_pod

    testbed(inside, topology=folder(HOST_GW))


def test_a_packet_crosses_the_router_inside_another_and_its_own_ttl_does_not_count_it(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert "ttl=62" in out(lab, "client", f"ping -c1 -W2 {far_pod(lab)}")
        result = lab.trace("client", far_pod(lab))
        at_router = [hop for hop in result.observed.forward.hops if hop.point.netns == "r1"]
        assert [hop.encapsulation.outer.ttl for hop in at_router if hop.encapsulation] == [64, 63]
        assert {cause.text for hop in at_router for cause in hop.causes if cause.kind == "route"} == {
            "192.168.101.0/24 dev eth1 proto kernel scope link src 192.168.101.1"
        }

    testbed(inside, topology=folder(VXLAN))


@pytest.mark.parametrize(("name", "mtu"), [("two-node-flannel-host-gw", 1500), (DIRECT, 1450)])
def test_a_pod_shows_the_mtu_of_the_mode(testbed: Labs, name: str, mtu: int) -> None:
    def inside(lab: Testbed) -> None:
        assert f"mtu {mtu} " in out(lab, "client", "ip link show eth0")

    testbed(inside, topology=folder(name))


def test_a_router_can_be_traced_from_and_to_by_its_name(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        for source, target in (("r1", "node3"), ("client", "r1"), ("router/r1", "node1")):
            result = lab.trace(source, target)
            assert result.ok and result.observed.reply, trace_text(result, color=False)

    testbed(inside, topology=folder(VXLAN))


@machine.on_a_machine
def test_up_and_check_say_which_routes_the_kernel_refuses() -> None:
    up = machine.emu("up", str(folder(HOST_GW)))
    first = "node1: the kernel refuses ip route replace 10.244.3.0/24 via 192.168.101.13 dev eth0"
    assert f"note: {first} (Nexthop has invalid gateway): 192.168.101.13 is across a router" in up.stderr
    assert "… and 6 more routes that the kernel refuses (emu check)" in up.stderr
    check = machine.emu("check")
    assert check.stdout.count("as planned: ") == 8 and f"as planned: {first}" in check.stdout
    assert check.stdout.endswith("the kernel is as planned\n")
    assert "192.168.101.0/24 dev eth1" in machine.emu("exec", "router/r1", "--", "ip", "route").stdout
    machine.emu("down")


def test_a_node_sees_the_files_of_its_cni_and_neither_a_pod_nor_the_machine_does(testbed: Labs) -> None:
    def seen(lab: Testbed) -> None:
        machines = {path: sorted(os.listdir(path)) for path in ("/etc", "/var/lib")}
        for node, subnet in (("node1", "10.244.1.1/24"), ("node2", "10.244.2.1/24")):
            assert f"FLANNEL_SUBNET={subnet}\n" in out(lab, f"node/{node}", "cat /run/flannel/subnet.env")
            assert '"type": "flannel"' in out(lab, f"node/{node}", "cat /etc/cni/net.d/10-flannel.conflist")
        with open("/etc/passwd") as file:
            assert out(lab, "node/node1", "cat /etc/passwd") == file.read()
        assert run(lab, "client", "cat /run/flannel/subnet.env /etc/cni/net.d/10-flannel.conflist").code != 0
        assert {path: sorted(os.listdir(path)) for path in machines} == machines
        assert not os.path.exists("/run/flannel/subnet.env")

    testbed(seen)
