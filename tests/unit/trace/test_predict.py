"""The expected walks were read off real kernels (Linux 6.18): the same cluster made by hand, tcpdump at every point."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import shipped
from trace_plans import cluster, without

from emu.netfilter import parse
from emu.plan.model import Plan, Sysctl
from emu.trace.changed import flow_text
from emu.trace.model import CauseKind, Flow, Leg, Path, Verdict
from emu.trace.predict import predict


def paths(src: str, dst: str, dport: int = 80, proto: str = "tcp", plan: Plan | None = None) -> tuple[Path, ...]:
    flow = Flow(netns=src, dst=ip_address(dst), proto=proto, dport=dport)
    return predict(plan or cluster(), flow).paths


def walk(leg: Leg | None) -> list[str]:
    assert leg is not None
    return [f"{h.point} {h.direction} {flow_text(h.inner)} {h.inner.ttl}{' ?' * bool(h.optional)}" for h in leg.hops]


def test_pod_to_pod_on_another_node_goes_through_the_tunnel() -> None:
    (path,) = paths("default.a2", "10.244.2.2", 8080)
    there = "10.244.1.2 → 10.244.2.2:8080"
    assert walk(path.forward) == [
        f"default/a2:eth0 out {there} 64",
        f"node1:vetha2 in {there} 64",
        f"node1:cni0 in {there} 64",
        f"node1:flannel.1 out {there} 63",
        f"node1:eth0 out {there} 63",
        f"fabric:fabric-node1 in {there} 63",
        f"fabric:fabric-node2 out {there} 63",
        f"node2:eth0 in {there} 63",
        f"node2:flannel.1 in {there} 63",
        f"node2:cni0 out {there} 62",
        f"node2:vethb2 out {there} 62",
        f"default/b2:eth0 in {there} 62",
    ]
    outer = [h.encapsulation for h in path.forward.hops]
    assert [bool(e) for e in outer] == [False] * 4 + [True] * 4 + [False] * 4
    assert outer[4] is not None
    assert (flow_text(outer[4].outer), outer[4].outer.ttl) == ("192.168.100.11 → 192.168.100.12:8472", 64)
    assert (outer[4].outer_src_mac, outer[4].outer_dst_mac) == ("02:00:00:00:01:00", "02:00:00:00:02:00")
    assert walk(path.reply)[-1] == "default/a2:eth0 in 10.244.2.2:8080 → 10.244.1.2 62"


def test_pod_to_pod_on_the_same_bridge_is_switched_and_not_seen_on_the_bridge() -> None:
    (path,) = paths("default.a2", "10.244.1.3", 8080)
    assert walk(path.forward) == [
        "default/a2:eth0 out 10.244.1.2 → 10.244.1.3:8080 64",
        "node1:vetha2 in 10.244.1.2 → 10.244.1.3:8080 64",
        "node1:vetha3 out 10.244.1.2 → 10.244.1.3:8080 64",
        "default/a3:eth0 in 10.244.1.2 → 10.244.1.3:8080 64",
    ]


def test_a_service_has_a_path_for_each_backend() -> None:
    near, far = paths("default.a2", "10.96.0.5")
    assert [near.forward.probability, far.forward.probability] == [0.5, 0.5]
    assert walk(near.forward) == [
        "default/a2:eth0 out 10.244.1.2 → 10.96.0.5:80 64",
        "node1:vetha2 in 10.244.1.2 → 10.96.0.5:80 64",
        "node1:cni0 out 10.244.1.2 → 10.244.1.3:8080 64 ?",
        "node1:vetha3 out 10.244.1.2 → 10.244.1.3:8080 64",
        "default/a3:eth0 in 10.244.1.2 → 10.244.1.3:8080 64",
    ]
    assert walk(near.reply) == [
        "default/a3:eth0 out 10.244.1.3:8080 → 10.244.1.2 64",
        "node1:vetha3 in 10.244.1.3:8080 → 10.244.1.2 64",
        "node1:vetha2 out 10.96.0.5:80 → 10.244.1.2 64",
        "default/a2:eth0 in 10.96.0.5:80 → 10.244.1.2 64",
    ]
    assert walk(far.forward)[1:3] == [
        "node1:vetha2 in 10.244.1.2 → 10.96.0.5:80 64",
        "node1:cni0 in 10.244.1.2 → 10.244.2.2:8080 64",  # br_netfilter has been there already
    ]
    assert walk(far.reply)[-3:] == [
        "node1:cni0 out 10.96.0.5:80 → 10.244.1.2 62",
        "node1:vetha2 out 10.96.0.5:80 → 10.244.1.2 62",
        "default/a2:eth0 in 10.96.0.5:80 → 10.244.1.2 62",
    ]


def test_the_rules_of_a_service_are_named_from_the_hook_to_the_dnat() -> None:
    (path,) = paths("default.a2", "10.96.0.10", 53, "udp")
    rules = [c.text for c in path.forward.hops[1].causes if c.kind is CauseKind.RULE]
    assert rules[:4] == [
        '-t nat -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-t nat -A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m udp --dport 53 -j KUBE-SVC-2",
        "-t nat -A KUBE-SVC-2 -j KUBE-SEP-2-0",
        "-t nat -A KUBE-SEP-2-0 -p udp -m udp -j DNAT --to-destination 10.244.2.2:53",
    ]
    assert path.reply is not None
    back = [c for hop in path.reply.hops for c in hop.causes if c.kind is CauseKind.CONNTRACK]
    assert [(c.netns, c.effect) for c in back] == [("node1", "source back to 10.96.0.10:53")]


def test_each_hop_through_the_tunnel_names_route_neighbor_and_fdb_entry() -> None:
    (path,) = paths("default.a2", "10.244.2.2", 8080)
    at = {str(hop.point): [cause.text for cause in hop.causes] for hop in path.forward.hops}
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in at["node1:cni0"]
    assert "10.244.2.0 dev flannel.1 lladdr 02:00:00:00:0f:02 PERMANENT" in at["node1:cni0"]
    assert "02:00:00:00:0f:02 dev flannel.1 dst 192.168.100.12 self permanent" in at["node1:flannel.1"]
    assert "02:00:00:00:02:00 dev fabric-node2 master fabric" in at["fabric:fabric-node1"]


def test_a_pod_that_reaches_itself_by_its_service_sees_the_bridge_as_client() -> None:
    (path,) = paths("default.a2", "10.96.0.6")
    assert walk(path.forward)[-2:] == [
        "node1:vetha2 out 10.244.1.1 → 10.244.1.2:8080 64",
        "default/a2:eth0 in 10.244.1.1 → 10.244.1.2:8080 64",
    ]
    assert walk(path.reply) == [
        "default/a2:eth0 out 10.244.1.2:8080 → 10.244.1.1 64",
        "node1:vetha2 in 10.244.1.2:8080 → 10.244.1.1 64",
        "node1:cni0 out 10.244.1.2:8080 → 10.244.1.2 64 ?",
        "node1:vetha2 out 10.96.0.6:80 → 10.244.1.2 64",
        "default/a2:eth0 in 10.96.0.6:80 → 10.244.1.2 64",
    ]


def test_without_a_hairpin_port_a_pod_does_not_reach_itself_by_its_service() -> None:
    node = cluster().netns["node1"]
    links = tuple(replace(link, hairpin=False) for link in node.links)
    (path,) = paths("default.a2", "10.96.0.6", plan=without(cluster(), "node1", links=links))
    assert path.forward.verdict is Verdict.DROPPED
    assert "vetha2 is no hairpin port" in path.forward.reason


def test_a_node_reaches_a_service_with_the_tunnels_address() -> None:
    near, far = paths("node1", "10.96.0.5")
    assert walk(near.forward)[0] == "node1:cni0 out 10.244.1.1 → 10.244.1.3:8080 64"
    assert walk(far.forward)[0] == "node1:flannel.1 out 10.244.1.0 → 10.244.2.2:8080 64"
    assert walk(far.reply)[-1] == "node1:flannel.1 in 10.244.2.2:8080 → 10.244.1.0 63"
    assert [c.effect for c in far.forward.origin if c.effect][:2] == ["mark 0x4000 set", "DNAT to 10.244.2.2:8080"]


def test_a_pod_reaches_another_node_with_its_own_nodes_address() -> None:
    (path,) = {p.forward.hops: p for p in paths("default.a2", "192.168.100.12", 10250)}.values()
    assert walk(path.forward)[3] == "node1:eth0 out 192.168.100.11 → 192.168.100.12:10250 63"
    assert walk(path.reply)[-3] == "node1:cni0 out 192.168.100.12:10250 → 10.244.1.2 63"


def test_a_masqueraded_pings_identifier_is_of_neither_end() -> None:
    (path,) = paths("default.a2", "192.168.100.12", 0, "icmp")
    assert "SNAT 10.244.1.2 → 192.168.100.11" in [each for hop in path.forward.hops for each in hop.changed]
    assert path.reply is not None
    back = [(c.netns, c.effect) for hop in path.reply.hops for c in hop.causes if c.kind is CauseKind.CONNTRACK]
    assert back == [("node1", "destination back to 10.244.1.2")]
    changed = [each for hop in path.reply.hops for each in hop.changed if "NAT" in each]
    assert changed == ["DNAT 192.168.100.11 → 10.244.1.2"]


def test_the_api_server_behind_its_service_is_on_a_node() -> None:
    local = paths("default.a2", "10.96.0.1", 443)[0]
    assert walk(local.forward)[-1] == "node1:cni0 in 10.244.1.2 → 192.168.100.11:6443 64"
    assert walk(local.reply)[0] == "node1:cni0 out 10.96.0.1:443 → 10.244.1.2 64"
    remote = paths("default.b2", "10.96.0.1", 443)[0]
    assert walk(remote.forward)[2:4] == [
        "node2:cni0 in 10.244.2.2 → 192.168.100.11:6443 64",
        "node2:eth0 out 192.168.100.12 → 192.168.100.11:6443 63",
    ]


def test_a_service_without_endpoints_is_refused_by_the_pods_own_node() -> None:
    (path,) = paths("default.a2", "10.96.0.9")
    assert path.forward.verdict is Verdict.REJECTED
    assert path.forward.reason == (
        "node1: -t filter -A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m tcp --dport 80"
        " -j REJECT --reject-with icmp-port-unreachable"
    )
    assert walk(path.reply) == [
        "node1:cni0 out 10.244.1.1 → 10.244.1.2 64",
        "node1:vetha2 out 10.244.1.1 → 10.244.1.2 64",
        "default/a2:eth0 in 10.244.1.1 → 10.244.1.2 64",
    ]
    assert path.reply and path.reply.hops[0].inner.note == "unreachable: port"


def test_an_address_nobody_has_is_told_by_the_last_node() -> None:
    (path,) = paths("default.a2", "10.244.2.77", proto="icmp")
    assert path.forward.reason == "nobody answers ARP for 10.244.2.77 on node2:cni0"
    assert walk(path.reply)[0] == "node2:flannel.1 out 10.244.2.0 → 10.244.1.2 64"


def test_an_error_about_a_masqueraded_packet_comes_from_the_masquerading_address() -> None:
    (path,) = paths("default.a2", "9.9.9.9", proto="icmp")
    assert path.forward.reason == "nobody answers ARP for 192.168.100.1 on node1:eth0"
    assert walk(path.reply)[0] == "node1:cni0 out 192.168.100.11 → 10.244.1.2 64"


def test_a_node_without_a_route_answers_net_unreachable() -> None:
    node = cluster().netns["node1"]
    (path,) = paths("default.a2", "9.9.9.9", plan=without(cluster(), "node1", routes=node.routes[1:]))
    assert path.forward.reason == "node1 has no route to 9.9.9.9"
    assert path.reply and path.reply.hops[0].inner.note == "unreachable: net"
    assert walk(path.reply)[0] == "node1:cni0 out 10.244.1.1 → 10.244.1.2 64"


def test_a_port_nobody_declares_is_predicted_open_and_closed() -> None:
    tcp = paths("default.a2", "10.244.2.2", 82)
    assert [p.reply.hops[0].inner.note for p in tcp if p.reply] == ["SYN-ACK", "RST"]
    udp = paths("default.a2", "10.244.2.2", 82, "udp")
    assert [p.reply.hops[0].inner.proto for p in udp if p.reply] == ["udp", "icmp"]


def test_a_pings_answer_comes_from_the_pod() -> None:
    (path,) = paths("default.a2", "10.244.2.2", proto="icmp")
    assert path.reply and path.reply.hops[0].inner.note == "echo reply"


def test_a_service_is_not_pinged() -> None:
    (path,) = paths("default.a2", "10.96.0.5", proto="icmp")
    assert path.forward.verdict is Verdict.REJECTED


def test_without_br_netfilter_the_answer_of_a_pod_on_the_same_node_is_not_translated_back() -> None:
    node = cluster().netns["node1"]
    off = Sysctl(key="net.bridge.bridge-nf-call-iptables", value="0")
    near, _ = paths("default.a2", "10.96.0.5", plan=without(cluster(), "node1", sysctls=(node.sysctls[0], off)))
    assert near.reply is not None
    assert near.reply.verdict is Verdict.DROPPED
    assert near.reply.reason == "the answer comes from 10.244.1.3:8080, not from 10.96.0.5:80"


def test_a_forward_policy_of_drop_is_named_as_the_reason() -> None:
    tables = parse.save("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", 4)
    (path,) = paths("default.a2", "10.244.2.2", 8080, plan=without(cluster(), "node1", tables=tables))
    assert path.forward.verdict is Verdict.DROPPED
    assert path.forward.reason == "node1: the policy of FORWARD"
    assert path.reply is None


@pytest.mark.parametrize("source", ["default.a2", "node1"])
def test_what_stays_in_one_netns_is_seen_nowhere(source: str) -> None:
    own = {"default.a2": "10.244.1.2", "node1": "192.168.100.11"}[source]
    path = paths(source, own, 8080)[0]
    assert path.forward.hops == ()
    assert path.forward.verdict is Verdict.DELIVERED


def test_of_ipv6_it_is_neighbor_solicitations_that_nobody_answers() -> None:
    asked = Flow(netns="default.client", dst=ip_address("fd00:10:244:1::99"), proto="icmp")
    (path,) = predict(shipped.plan("two-node-flannel-vxlan-ipv6"), asked).paths
    assert path.forward.reason == ("nobody answers neighbor solicitations for fd00:10:244:1::99 on default/client:eth0")
