"""Cilium as a plan: who has which identity, what the maps say, what a change of a Service changes, what is refused."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
import shipped

from emu import planners
from emu.api.topology import Cni, Proxy
from emu.api.wrong import Wrong
from emu.cluster.model import Cluster
from emu.netfilter import text
from emu.plan import diff, render
from emu.plan.ebpf import MapEntry, SocketProgram
from emu.plan.model import NetnsPlan
from emu.planners.cni import cilium, cilium_identity
from emu.planners.proxy import cilium as services

FOLDER, NATIVE = "two-node-cilium", "two-node-cilium-native"
TO_NODE2 = IPv4Address("192.168.100.12")


def entries(netns: NetnsPlan, name: str) -> dict[object, tuple[object, ...]]:
    return {entry.key[0]: entry.value for entry in netns.maps if entry.map == name}


def pod_named(cluster: Cluster, name: str):  # type: ignore[no-untyped-def]
    return next(pod for pod in cluster.pods if pod.name.startswith(name))


def test_pods_with_the_same_labels_have_one_identity_whatever_their_controller_adds() -> None:
    cluster = shipped.ready(FOLDER)
    web = [pod for pod in cluster.pods if pod.name.startswith("web-")]
    known = cilium_identity.identities(cluster.pods)
    assert len(web) == 2 and {cilium_identity.of(pod, known) for pod in web} == {20791}
    other = replace(web[0], name="x", labels={**web[0].labels, "pod-template-hash": "another"})
    assert cilium_identity.labels(other) == cilium_identity.labels(web[0])
    apart = replace(web[0], namespace="prod")
    assert cilium_identity.labels(apart) != cilium_identity.labels(web[0])
    assert all(256 <= number <= 65535 for number in known.values())


def test_two_that_would_have_the_same_number_have_two() -> None:
    drawn = dict(cilium_identity.drawn([("a",), ("b",), ("c",)], 1, 3))
    assert sorted(drawn.values()) == [1, 2, 3]


def test_a_node_knows_its_own_pods_by_their_links_and_all_others_by_the_node_to_tunnel_to() -> None:
    cluster, plan = shipped.ready(FOLDER), shipped.plan(FOLDER)
    near, far = pod_named(cluster, "client"), pod_named(cluster, "client2")
    node = plan.netns["node1"]
    endpoints, known = entries(node, "cilium_lxc"), entries(node, "cilium_ipcache")
    link, identity, flags, *_ = endpoints[near.addresses[0]]
    assert (identity, flags) == (31143, 0)
    assert any(each.name == link and each.peer == ("default.client", "eth0") for each in node.links)
    assert far.addresses[0] not in endpoints
    assert known[IPv4Network(near.addresses[0])] == (31143, IPv4Address(0))
    assert known[IPv4Network(far.addresses[0])] == (31143, TO_NODE2)


def test_the_nodes_have_the_reserved_identities() -> None:
    known = entries(shipped.plan(FOLDER).netns["node1"], "cilium_ipcache")
    assert known[IPv4Network("192.168.100.11/32")][0] == 1
    assert known[IPv4Network(TO_NODE2)][0] == 6
    assert known[IPv4Network("0.0.0.0/0")][0] == 2
    assert known[IPv4Network("10.244.2.1/32")] == (6, TO_NODE2)  # its address among its Pods


def test_in_native_routing_nothing_is_tunnelled_and_routes_lead_to_the_nodes() -> None:
    node = shipped.plan(NATIVE).netns["node1"]
    assert all(end == IPv4Address(0) for _, end in entries(node, "cilium_ipcache").values())
    assert node.link("cilium_vxlan") is None
    assert "10.244.2.0/24 via 192.168.100.12 dev eth0 proto kernel" in [render.route(each) for each in node.routes]


def test_a_pod_has_a_route_to_the_router_and_a_default_route_with_room_for_the_tunnel() -> None:
    pod = shipped.plan(FOLDER).netns["default.client"]
    assert [render.route(each) for each in pod.routes] == [
        "10.244.1.1 dev eth0 scope link",
        "default via 10.244.1.1 dev eth0 mtu 1450",
    ]
    assert render.route(shipped.plan(NATIVE).netns["default.client"].routes[1]) == "default via 10.244.1.1 dev eth0"


def test_the_agents_chains_are_as_it_leaves_them_and_before_those_of_others() -> None:
    """As iptables-save prints them on a Node of Cilium 1.17 with BPF masquerading."""
    saved = [line for table in shipped.plan(FOLDER).netns["node1"].tables for line in text.save(table).splitlines()]
    assert [line for line in saved if "-j CILIUM" in line and "OUTPUT" in line] == [
        '-A OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT_raw" -j CILIUM_OUTPUT_raw',
        '-A OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT_nat" -j CILIUM_OUTPUT_nat',
        '-A OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT" -j CILIUM_OUTPUT',
    ]
    assert [line for line in saved if line.startswith(("-A CILIUM_PRE_mangle", "-A CILIUM_OUTPUT "))] == [
        "-A CILIUM_PRE_mangle ! -o lo -m socket --transparent -m mark ! --mark 0xe00/0xf00 "
        '-m mark ! --mark 0x800/0xf00 -m comment --comment "cilium: any->pod redirect proxied traffic to host proxy" '
        "-j MARK --set-xmark 0x200/0xffffffff",
        '-A CILIUM_OUTPUT -m mark --mark 0xa00/0xe00 -m comment --comment "cilium: ACCEPT for proxy traffic" -j ACCEPT',
        "-A CILIUM_OUTPUT -m mark --mark 0x800/0xe00 "
        '-m comment --comment "cilium: ACCEPT for l7 proxy upstream traffic" -j ACCEPT',
        "-A CILIUM_OUTPUT -m mark ! --mark 0xd00/0xf00 -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0x400/0xf00 "
        "-m mark ! --mark 0xa00/0xe00 -m mark ! --mark 0x800/0xe00 -m mark ! --mark 0xf00/0xf00 "
        '-m comment --comment "cilium: host->any mark as from host" -j MARK --set-xmark 0xc00/0xf00',
    ]
    assert not any(line.startswith(("-A CILIUM_POST_nat", "-A CILIUM_PRE_nat")) for line in saved)


def test_there_is_no_rule_of_kube_proxy() -> None:
    chains = {chain.name for table in shipped.plan(FOLDER).netns["node1"].tables for chain in table.chains}
    assert not any(name.startswith(("KUBE-SERVICES", "KUBE-SVC", "KUBE-SEP")) for name in chains)


def scaled(cluster: Cluster, service: str, most: int) -> Cluster:
    less = tuple(
        replace(each, backends=each.backends[:most]) if each.service == service else each
        for each in cluster.frontends
    )  # fmt: skip
    return replace(cluster, frontends=less)


def test_scaling_a_service_changes_its_own_entries_alone() -> None:
    cluster = shipped.ready(FOLDER)
    before, after = planners.build(cluster), planners.build(scaled(cluster, "web", 1))
    address = next(each.cluster_ip for each in cluster.frontends if each.service == "web")
    changes = diff.diff(before, after).netns
    assert [each.name for each in changes] == ["node1", "node2"]
    for change in changes:
        touched = [*change.added, *change.removed]
        assert touched and all(isinstance(each, MapEntry) for each in touched)
        of_services = [each for each in touched if each.map == services.SERVICES]  # type: ignore[attr-defined]
        assert {each.key[0] for each in of_services} == {address}
        assert {each.map for each in touched} == {services.SERVICES, services.BACKENDS}  # type: ignore[attr-defined]


def test_a_service_without_backends_is_there_and_has_none() -> None:
    cluster = scaled(shipped.ready(FOLDER), "web", 0)
    address = next(each.cluster_ip for each in cluster.frontends if each.service == "web")
    found = [each for each in planners.build(cluster).netns["node1"].maps if each.key[0] == address]
    assert [(each.key[2], each.value[1]) for each in found] == [(0, 0), (0, 0)]  # TCP and UDP


def test_with_internal_traffic_policy_local_a_node_has_its_own_backends_alone() -> None:
    cluster = shipped.ready(FOLDER)
    local = tuple(replace(each, internal_local=True) if each.service == "web" else each for each in cluster.frontends)
    plan = planners.build(replace(cluster, frontends=local))
    address = next(each.cluster_ip for each in cluster.frontends if each.service == "web")
    for node in cluster.nodes:
        maps = plan.netns[node.name].maps
        ids = {each.value[0] for each in maps if each.key[0] == address and each.key[2]}
        ends = {each.value[0] for each in maps if each.map == services.BACKENDS and each.key[0] in ids}
        assert len(ends) == 1 and all(end in node.pod_cidrs[0] for end in ends)


def test_session_affinity_is_in_slot_0() -> None:
    cluster = shipped.ready(FOLDER)
    sticky = tuple(replace(each, affinity_s=10800) if each.service == "web" else each for each in cluster.frontends)
    maps = planners.build(replace(cluster, frontends=sticky)).netns["node1"].maps
    address = next(each.cluster_ip for each in cluster.frontends if each.service == "web")
    assert {each.value[0] for each in maps if each.key[0] == address and each.key[2] == 0} == {10800}


def test_every_node_has_the_four_socket_programs() -> None:
    programs = shipped.plan(FOLDER).netns["node2"].programs
    hooks = [each.hook for each in programs if isinstance(each, SocketProgram)]
    assert hooks == ["connect4", "sendmsg4", "recvmsg4", "getpeername4"]


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"family": "ipv6"}, ("family",), "carries IPv4 alone"),
        ({"proxy": Proxy(mode="iptables")}, ("proxy", "mode"), "no rule sees a Pod's packet"),
        ({"cni": Cni(mode="cilium", options={"routing": "bgp"})}, ("cni", "options", "routing"), "tunnel or native"),
        ({"cni": Cni(mode="cilium", options={"rooting": "native"})}, ("cni", "options", "rooting"), "unknown option"),
    ],
)
def test_what_it_does_not_do_is_refused(changes: dict[str, object], field: tuple[str, ...], says: str) -> None:
    with pytest.raises(Wrong, match=says) as raised:
        cilium.check(replace(shipped.ready(FOLDER).topology, **changes))  # type: ignore[arg-type]
    assert raised.value.path == field


def test_its_proxy_is_for_it_alone() -> None:
    topology = shipped.cluster("two-node-flannel-vxlan").topology
    with pytest.raises(Wrong, match="a part of cni: cilium"):
        services.check(replace(topology, proxy=Proxy(mode="cilium")))
