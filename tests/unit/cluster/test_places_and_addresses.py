"""Pods → Nodes and addresses; Services → clusterIPs; the ranges they come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_world import (
    NOW,
    again,
    all_ready,
    as_reported,
    cluster,
    deployment,
    get,
    objects,
    pod,
    registry,
    service,
    topology,
    where_is,
)

from emu.api.objects import NodeSpec, key_of
from emu.api.topology import NodeEntry, Ranges
from emu.cluster.lifecycle import terminated
from emu.cluster.nodes import nodes
from emu.cluster.resolve import resolve
from emu.errors import InputError, PlanError


def test_numbers_tell_whose_an_address_is() -> None:
    assert [(str(each.addresses[0]), str(each.pod_cidrs[0])) for each in nodes(topology(3))] == [
        ("192.168.100.11/24", "10.244.1.0/24"),
        ("192.168.100.12/24", "10.244.2.0/24"),
        ("192.168.100.13/24", "10.244.3.0/24"),
    ]


def test_a_dual_stack_node_has_one_range_of_each_family_in_order() -> None:
    ranges = Ranges(
        nodes=("192.168.100.0/24", "fd00:100::/64"),
        pods=("10.244.0.0/16", "fd00:244::/56"),
        services=("10.96.0.0/12", "fd00:96::/112"),
    )
    (first, _) = nodes(topology(family="ipv6-ipv4", ranges=ranges))
    assert [str(each) for each in first.addresses] == ["fd00:100::11/64", "192.168.100.11/24"]
    assert [str(each) for each in first.pod_cidrs] == ["fd00:244:0:1::/64", "10.244.1.0/24"]
    where = cluster(pod("a"), topo=topology(family="ipv6-ipv4", ranges=ranges))
    assert [str(each) for each in where.pods[0].addresses] == ["fd00:244:0:1::2", "10.244.1.2"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ranges": Ranges(pods=("10.244.0.0/24",))}, "ranges.pods 10.244.0.0/24 holds 1 ranges of /24, and there are"),
        ({"ranges": Ranges(nodes=("192.168.100.0/29",))}, "ranges.nodes 192.168.100.0/29 has no address for node"),
        ({"ranges": Ranges(pods=("10.244.0.1/16",))}, "ranges.pods: 10.244.0.1/16 has host bits set"),
        ({"family": "ipv6"}, "ranges.nodes has 0 IPv6 ranges, a ipv6 cluster needs one"),
        (
            {"nodes": (NodeEntry(name="a"), NodeEntry(name="b", address="192.168.100.11"))},
            "nodes a and b both have the address 192.168.100.11",
        ),
        ({"nodes": (NodeEntry(name="a", address="10.0.0.1"),)}, "node a: address 10.0.0.1 is not a host address of"),
    ],
)
def test_ranges_that_cannot_be_are_refused(fields: dict, message: str) -> None:
    with pytest.raises((InputError, PlanError)) as error:
        nodes(topology(**fields))
    assert message in str(error.value)


def test_pods_go_to_the_node_with_the_fewest_then_in_order() -> None:
    where = cluster(*(pod(name) for name in "abcd"), topo=topology(3))
    assert where_is(where) == {
        "a": "node1 10.244.1.2",
        "b": "node2 10.244.2.2",
        "c": "node3 10.244.3.2",
        "d": "node1 10.244.1.3",
    }


def test_node_name_and_node_selector_are_honoured() -> None:
    topo = topology(nodes=(NodeEntry(name="node1"), NodeEntry(name="node2", labels={"disk": "ssd"})))
    where = cluster(pod("a", node_name="node2"), pod("b", node_selector={"disk": "ssd"}), topo=topo)
    assert [each.node for each in where.pods] == ["node2", "node2"]


def test_an_unknown_node_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"Pod default/a: spec.nodeName is node9, the nodes are node1, node2"):
        cluster(pod("a", node_name="node9"))


def test_a_pod_that_fits_nowhere_stays_pending_and_says_why() -> None:
    where = cluster(pod("a", node_selector={"disk": "ssd"}))
    status = get(where, "Pod", "a").status
    (condition,) = status.conditions
    assert where.pods == ()
    assert (status.phase, condition.type, condition.status, condition.reason) == (
        "Pending", "PodScheduled", "False", "Unschedulable",
    )  # fmt: skip
    assert condition.message == (
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    assert where.warnings == (f"Pod default/a: {condition.message}",)


def test_a_cordoned_node_gets_no_new_pods() -> None:
    before = cluster()
    node = get(before, "Node", "node1", "")
    after = again(before, replace(node, spec=replace(node.spec, unschedulable=True)), pod("a"), pod("b"))
    assert [each.node for each in after.pods] == ["node2", "node2"]


def test_a_waiting_pod_is_placed_once_a_node_fits() -> None:
    before = cluster(pod("a", node_selector={"disk": "ssd"}))
    node = get(before, "Node", "node2", "")
    labelled = replace(node, metadata=replace(node.metadata, labels={**node.metadata.labels, "disk": "ssd"}))
    after = again(before, labelled)
    assert where_is(after) == {"a": "node2 10.244.2.2"}
    assert [(each.type, each.status) for each in get(after, "Pod", "a").status.conditions] == [("PodScheduled", "True")]


def test_a_placed_pod_shows_its_addresses_and_that_it_is_being_created() -> None:
    status = get(cluster(pod("a")), "Pod", "a").status
    assert (status.pod_ip, status.pod_ips[0].ip, status.host_ip) == ("10.244.1.2", "10.244.1.2", "192.168.100.11")
    assert status.container_statuses[0].state.waiting.reason == "ContainerCreating"


def test_addresses_go_round_the_range_and_are_not_used_again_at_once() -> None:
    topo = topology(1)
    before = cluster(pod("a"), pod("b"), topo=topo)
    after = again(before, pod("c"), deletes=[("Pod", "default", "b")])
    assert where_is(after) == {"a": "node1 10.244.1.2", "c": "node1 10.244.1.4"}


def test_a_small_range_is_reused_from_its_start() -> None:
    topo = topology(1, ranges=Ranges(pods=("10.244.0.0/28",), node_pod_prefix=29))
    where = cluster(*(pod(name) for name in "abcde"), topo=topo)
    assert where_is(where)["e"] == "node1 10.244.0.14"
    where = again(where, pod("f"), deletes=[("Pod", "default", "b")])
    assert where_is(where)["f"] == "node1 10.244.0.11"


def test_asked_for_addresses_are_served_first() -> None:
    where = cluster(pod("a"), pod("b", ip="10.244.1.2"), pod("c", ip="10.244.2.99"), topo=topology(2))
    assert where_is(where) == {"a": "node1 10.244.1.3", "b": "node1 10.244.1.2", "c": "node2 10.244.2.99"}


@pytest.mark.parametrize(
    ("asking", "message"),
    [
        (pod("b", ip="10.244.1.11"), "Pod default/b: annotation kube-emu.io/ip: 10.244.1.11 is taken by Pod default/a"),
        (
            pod("b", ip="10.244.1.1", node_name="node1"),
            "10.244.1.1 is not a Pod address of node1: 10.244.1.0/24 without",
        ),
        (pod("b", ip="10.244.1.5", node_name="node2"), "10.244.1.5 is not a Pod address of node2"),
        (pod("b", ip="10.244.1.500"), "'10.244.1.500' does not appear to be an IPv4 or IPv6 address"),
        (pod("b", ip="fd00::1", node_name="node1"), "names 1 addresses, this cluster needs one of each of IPv4"),
    ],
)
def test_an_address_that_cannot_be_given_is_refused(asking: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        cluster(pod("a", ip="10.244.1.11"), asking)
    assert message in str(error.value)


def test_a_pod_waits_for_an_address_that_a_terminating_one_still_has() -> None:
    before = cluster(pod("a", ip="10.244.1.11"))
    ending = again(before, terminated(get(before, "Pod", "a"), NOW), pod("b", ip="10.244.1.11"))
    assert "10.244.1.11 is not available: Pod default/a has it" in ending.warnings[0]
    assert where_is(again(ending, deletes=[("Pod", "default", "a")])) == {"b": "node1 10.244.1.11"}


SMALL = Ranges(pods=("10.244.0.0/27",), node_pod_prefix=29)


def test_more_pods_than_the_ranges_hold_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(PlanError) as error:
        cluster(deployment("web", 10), pod("a"), topo=topology(2, ranges=SMALL))
    assert str(error.value).startswith(
        "ranges.pods 10.244.0.0/27 holds 2 nodes x 5 Pods (a /29 each, less network, gateway and broadcast) = 10, "
        "the manifests ask for 11: Deployment default/web 10, Pods of their own 1"
    )


def test_more_pods_than_one_nodes_range_holds_are_refused() -> None:
    with pytest.raises(
        PlanError, match=r"node node1: 6 Pods are to run there, its range 10.244.0.8/29 holds 5 .*: 1 Pods"
    ):
        cluster(deployment("web", 6, node_name="node1"), topo=topology(2, ranges=SMALL))


def test_in_a_running_cluster_the_surplus_waits_in_container_creating() -> None:
    before = all_ready(cluster(deployment("web", 5), topo=topology(1, ranges=SMALL)))
    after = again(before, pod("late"))
    status = get(after, "Pod", "late").status
    assert (status.phase, status.pod_ip) == ("Pending", "")
    assert status.container_statuses[0].state.waiting.reason == "ContainerCreating"
    assert [(each.type, each.reason) for each in status.conditions if each.status == "False"] == [
        ("PodReadyToStartContainers", "FailedCreatePodSandBox")
    ]
    assert "no IP addresses available in range set: 10.244.0.9-10.244.0.14" in after.warnings[0]


def test_two_services_with_one_cluster_ip_name_each_other() -> None:
    with pytest.raises(InputError) as error:
        cluster(service("a", cluster_ip="10.96.7.7"), service("b", cluster_ip="10.96.7.7"))
    assert str(error.value) == "Service default/b: spec.clusterIP 10.96.7.7 is taken by Service default/a"


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("10.96.0.10", "10.96.0.10 is taken by Service kube-system/kube-dns"),
        ("10.96.0.1", "10.96.0.1 is taken by Service default/kubernetes"),
        ("10.95.0.1", "10.95.0.1 is not in the service range 10.96.0.0/12"),
        ("10.96.0.0", "10.96.0.0 is the network address of the service range 10.96.0.0/12"),
        ("10.111.255.255", "10.111.255.255 is the broadcast address of the service range 10.96.0.0/12"),
        ("10.96.1", "is '10.96.1', must be an address, None or empty"),
    ],
)
def test_a_cluster_ip_that_cannot_be_is_refused(ip: str, why: str) -> None:
    with pytest.raises(InputError) as error:
        cluster(service("a", cluster_ip=ip))
    assert str(error.value) == f"Service default/a: spec.clusterIP {why}"


def test_dynamic_cluster_ips_leave_the_static_band_alone() -> None:
    where = cluster(*(service(f"s{n}", selector=None) for n in range(50)))
    ips = {get(where, "Service", f"s{n}").spec.cluster_ip for n in range(50)}
    assert len(ips) == 50
    first = int(where.service_ranges[0][257])
    assert all(int(next(f for f in where.frontends if str(f.cluster_ip) == ip).cluster_ip) >= first for ip in ips)


def test_a_service_keeps_its_cluster_ip_whatever_comes_beside_it() -> None:
    before = cluster(service("a"))
    after = again(before, *(service(f"s{n}") for n in range(20)))
    assert get(after, "Service", "a").spec.cluster_ip == get(before, "Service", "a").spec.cluster_ip


def test_a_range_that_is_full_falls_back_to_the_static_band_and_then_refuses() -> None:
    ranges = Ranges(services=("10.96.0.0/27",))  # 30 addresses: two taken, 16 in the static band
    where = cluster(*(service(f"s{n}", selector=None) for n in range(28)), topo=topology(ranges=ranges))
    assert len({get(where, "Service", f"s{n}").spec.cluster_ip for n in range(28)}) == 28
    with pytest.raises(PlanError, match=r"the service range 10.96.0.0/27 is used up: all 30 addresses are taken"):
        again(where, service("one-more"))


DUAL = Ranges(
    nodes=("192.168.100.0/24", "fd00:100::/64"),
    pods=("10.244.0.0/16", "fd00:244::/56"),
    services=("10.96.0.0/12", "fd00:96::/112"),
)


def test_a_dual_stack_service_has_an_address_of_each_family() -> None:
    topo = topology(family="ipv4-ipv6", ranges=DUAL)
    where = cluster(service("a", ip_family_policy="PreferDualStack"), pod("p", labels={"app": "a"}), topo=topo)
    spec = get(where, "Service", "a").spec
    assert spec.ip_families == ("IPv4", "IPv6")
    assert spec.cluster_ips[0] == spec.cluster_ip
    four, six = [each for each in where.frontends if each.service == "a"]
    assert (four.cluster_ip.version, six.cluster_ip.version) == (4, 6)
    assert [str(each) for each in (*four.backends, *six.backends)] == ["10.244.1.2:80", "[fd00:244:0:1::2]:80"]


def test_required_dual_stack_is_refused_on_a_single_stack_cluster() -> None:
    with pytest.raises(InputError, match=r"spec.ipFamilyPolicy is RequireDualStack, this cluster has IPv4 only"):
        cluster(service("a", ip_family_policy="RequireDualStack"))


def test_resolving_twice_changes_nothing() -> None:
    where = cluster(deployment("web", 3), service("web"), pod("a", ip="10.244.2.40"))
    second = resolve(where.topology, where.objects, registry(), "2027-01-01T00:00:00Z")
    assert second.objects is where.objects
    assert (second.pods, second.frontends) == (where.pods, where.frontends)
    assert all(a is b for a, b in zip(second.pods, where.pods, strict=True))


def test_nodes_show_what_the_topology_gives_them() -> None:
    node = get(cluster(), "Node", "node1", "")
    assert node.spec == NodeSpec(pod_cidr="10.244.1.0/24", pod_cidrs=("10.244.1.0/24",))
    assert [(each.type, each.address) for each in node.status.addresses] == [
        ("InternalIP", "192.168.100.11"),
        ("Hostname", "node1"),
    ]
    assert node.status.node_info.kubelet_version.startswith("v1.")


def test_the_order_of_the_manifests_is_the_order_of_the_addresses() -> None:
    topo = topology(1)
    ab = where_is(resolve(topo, objects(pod("a"), pod("b")), registry(), NOW))
    ba = where_is(resolve(topo, objects(pod("b"), pod("a")), registry(), NOW))
    assert (ab["a"], ba["b"]) == ("node1 10.244.1.2", "node1 10.244.1.2")


def test_a_ready_pod_keeps_node_and_address() -> None:
    before = cluster(pod("a"), pod("b"))
    after = again(before, as_reported(get(before, "Pod", "a")))
    assert where_is(after) == where_is(before)
    assert key_of(get(after, "Pod", "a")) == ("Pod", "default", "a")
