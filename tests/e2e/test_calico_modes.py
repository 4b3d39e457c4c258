"""Calico VXLAN and Canal: every kind of path as predicted, in every shape, and what is particular about them."""

from __future__ import annotations

import pytest
from inside import out, run, scaled, wait_until
from labs import TWO_NODES, Labs
from proving import failures, inside, spelled

from emu.report.text import trace_text
from emu.testbed.facade import Testbed
from emu.trace.model import CauseKind, Hop, TraceResult

pytestmark = pytest.mark.root

VXLAN, CANAL, RACKS = "two-node-calico-vxlan", "two-node-canal", "two-racks-calico-vxlan-cross-subnet"
SHAPES = [
    {"cni": "calico-vxlan", "nodes": 1},
    {"cni": "calico-vxlan", "nodes": 2},
    {"cni": "calico-vxlan", "nodes": 3},
    {"cni": "calico-vxlan", "iptables": "legacy"},
    {"cni": "calico-vxlan", "iptables": "legacy", "family": "ipv6"},
    {"cni": "calico-vxlan", "family": "ipv6"},
    {"cni": "calico-vxlan", "family": "ipv4-ipv6"},
    {"cni": "canal", "nodes": 2},
    {"cni": "canal", "nodes": 3},
    {"cni": "canal", "family": "ipv4-ipv6"},
]


def hops(result: TraceResult) -> list[Hop]:
    return [hop for leg in (result.observed.forward, result.observed.reply) if leg for hop in leg.hops]


def devices(result: TraceResult) -> list[str]:
    return [hop.point.ifname for hop in result.observed.forward.hops if hop.point.netns.startswith("node")]


def texts(result: TraceResult, kind: CauseKind) -> set[str]:
    every = (cause for leg in (result.observed.forward, result.observed.reply) if leg for cause in leg.origin)
    return {c.text for c in (*every, *(c for hop in hops(result) for c in hop.causes)) if c.kind is kind}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(f"{v}" for v in shape.values()))
def test_every_kind_of_path_is_as_predicted_and_nothing_drifts(shape: dict[str, object]) -> None:
    def inside_(lab: Testbed) -> tuple[list[str], list[str], list[str]]:
        results = lab.verify()
        unexplained = [
            f"{result.flow.label}: {hop.point}" for result in results for hop in hops(result) if not hop.causes
        ]
        return failures(results), unexplained, [str(each) for each in lab.check()]

    assert inside(inside_, **shape) == ([], [], [])  # type: ignore[arg-type]


def test_a_pods_gateway_is_an_address_that_nobody_has(testbed: Labs) -> None:
    def inside_(lab: Testbed) -> None:
        routes = out(lab, "client", "ip route").split("\n")
        assert [line.strip() for line in routes if line] == [
            "default via 169.254.1.1 dev eth0",
            "169.254.1.1 dev eth0 scope link",
        ]
        out(lab, "client", "ping -c1 -W2 169.254.1.1 || true")
        assert "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee" in out(lab, "client", "ip neigh")
        assert all("169.254.1.1" not in out(lab, node, "ip address") for node in ("node1", "node2"))

    testbed(inside_, topology=TWO_NODES.parent / VXLAN)


@pytest.mark.parametrize("name", [VXLAN, CANAL])
def test_pods_of_one_node_are_routed(testbed: Labs, name: str) -> None:
    def inside_(lab: Testbed) -> None:
        words = spelled(lab)
        assert "ttl=63" in out(lab, "client2", f"ping -c1 -W2 {words['nginx_ip']}")
        result = lab.trace("client2", words["nginx"])
        assert result.ok and len(devices(result)) == 2, trace_text(result, color=False)
        assert all(device.startswith("cali") for device in devices(result))

    testbed(inside_, topology=TWO_NODES.parent / name)


def test_the_outer_packet_is_led_through_felixs_rules_too(testbed: Labs) -> None:
    def inside_(lab: Testbed) -> None:
        result = lab.trace("client", "client2")
        outer = next(hop.encapsulation for hop in hops(result) if hop.encapsulation)
        assert (outer.vni, outer.outer.dport) == (4096, 4789)
        rules = " ".join(texts(result, CauseKind.RULE))
        assert "-p udp" in rules and "-m udp --dport 4789 -j NOTRACK" in rules
        assert "Allow IPv4 VXLAN packets from allowed hosts" in rules
        assert "Allow IPv4 VXLAN packets to other allowed hosts" in rules
        entries = out(lab, "node1", "conntrack -L -p udp --dport 4789 2>/dev/null || true")
        assert entries == ""

    testbed(inside_, topology=TWO_NODES.parent / VXLAN)


def test_a_pod_that_takes_another_ones_address_is_dropped_by_felixs_rule(testbed: Labs) -> None:
    def inside_(lab: Testbed) -> None:
        def dropped() -> int:
            rules = out(lab, "node1", "iptables -t raw -vxnL cali-PREROUTING").splitlines()
            return next(int(line.split()[0]) for line in rules if "rpfilter" in line)

        # The gateway's MAC is asked for with an honest address: nobody answers a spoofed question either, and until the
        # kernel gives that up, after 3 s, every other packet waits behind it.
        out(lab, "client", "ping -c1 -W2 192.168.100.11 && ip address add 10.244.1.99/32 dev eth0")
        before = dropped()
        spoofed = run(lab, "client", "ping -c1 -W1 -I 10.244.1.99 192.168.100.11")
        assert "100% packet loss" in spoofed.out and dropped() == before + 1
        assert " 0% packet loss" in out(lab, "client", "ping -c1 -W2 192.168.100.11")
        assert dropped() == before + 1

    testbed(inside_, topology=TWO_NODES.parent / VXLAN)


def test_a_packet_for_an_address_of_the_block_that_no_pod_has_ends_in_the_blackhole(testbed: Labs) -> None:
    def inside_(lab: Testbed) -> None:
        result = lab.trace("client", "10.244.2.60")
        assert result.ok and devices(result)[-1] == "vxlan.calico", trace_text(result, color=False)

    testbed(inside_, topology=TWO_NODES.parent / VXLAN)


def test_with_cross_subnet_the_tunnel_is_only_between_racks(testbed: Labs) -> None:
    def inside_(lab: Testbed) -> None:
        assert lab.cluster
        results = lab.verify()
        assert failures(results) == [] and lab.check() == ()
        far = next(str(pod.addresses[0]) for pod in lab.cluster.pods if pod.node in ("node3", "node4"))
        near, across = lab.trace("client", "client2"), lab.trace("client", far)
        assert not any(hop.encapsulation for hop in hops(near))
        assert any(hop.encapsulation for hop in hops(across))
        assert "mtu 1450 " in out(lab, "client", "ip link show eth0")

    testbed(inside_, topology=TWO_NODES.parent / RACKS)


def test_pods_come_and_go_with_their_links_routes_and_chains(testbed: Labs) -> None:
    def inside_(lab: Testbed) -> None:
        def known() -> tuple[int, int, int]:
            links = sum(line.startswith("cali") for line in out(lab, "node1", "ip -br link").splitlines())
            routes = sum(" dev cali" in line for line in out(lab, "node1", "ip route").splitlines())
            chains = out(lab, "node1", "iptables -S").count("-N cali-tw-cali")
            return links, routes, chains

        before = known()
        assert len(set(before)) == 1
        scaled(lab, "web", 12)
        more = known()
        assert len(set(more)) == 1 and more[0] > before[0]
        scaled(lab, "web", 2)
        wait_until(lambda: known() == before, "the links are gone")
        assert lab.check() == ()

    testbed(inside_, topology=TWO_NODES.parent / VXLAN)
