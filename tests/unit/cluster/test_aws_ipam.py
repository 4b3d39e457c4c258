"""ipamd of the AWS VPC CNI: ENIs by instance type, which address a Pod gets, and what is too small."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from cluster_world import again, all_ready, cluster, deployment, get, pod, pods_of, topology

from emu.api.topology import Cni, Fabric, NodeEntry, Ranges, Topology
from emu.cluster.ipam.aws_instances import LABEL, TYPES, instance_of
from emu.cluster.model import Cluster
from emu.errors import PlanError

VPC = Ranges(nodes=("10.0.0.0/20",), pods=("10.0.0.0/16",))


def vpc(nodes: int = 1, subnet: str = "10.0.0.0/20", **options: object) -> Topology:
    cni = Cni(mode="aws-vpc", options={"instance_type": "t3.small", **options})
    ranges = Ranges(nodes=(subnet,), pods=VPC.pods)
    return topology(nodes, cni=cni, ranges=ranges, fabric=Fabric(kind="vpc", mtu=9001))


def enis(of: Cluster, node: str = "node1") -> dict[str, str]:
    found = next(each for each in of.nodes if each.name == node)
    return {up.dev: f"{up.addresses[0].ip}: {' '.join(map(str, up.assigned))}" for up in found.uplinks}


def given(of: Cluster) -> list[str]:
    return [str(each.addresses[0]) for each in of.pods]


def test_a_node_starts_with_all_the_secondary_addresses_of_eth0() -> None:
    assert enis(cluster(topo=vpc())) == {"eth0": "10.0.0.11: 10.0.1.1/32 10.0.1.2/32 10.0.1.3/32"}


def test_the_first_pod_leaves_less_than_a_whole_eni_free_and_another_is_attached() -> None:
    lab = cluster(pod("a"), topo=vpc())
    assert given(lab) == ["10.0.1.1"]
    assert enis(lab)["eth1"] == "10.0.1.4: 10.0.1.5/32 10.0.1.6/32 10.0.1.7/32"


def test_warm_eni_target_0_attaches_an_eni_when_it_is_needed() -> None:
    three = cluster(deployment("web", 2), topo=vpc(warm_eni_target=0))
    assert list(enis(three)) == ["eth0"]
    four = cluster(deployment("web", 4), topo=vpc(warm_eni_target=0))
    assert list(enis(four)) == ["eth0", "eth1"]
    assert set(given(four)) == {"10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.5"}


def test_pods_get_the_addresses_of_eth0_first_and_never_an_enis_own() -> None:
    lab = cluster(deployment("web", 9), topo=vpc())
    assert set(given(lab)) == {f"10.0.1.{number}" for number in (1, 2, 3, 5, 6, 7, 9, 10, 11)}
    assert list(enis(lab)) == ["eth0", "eth1", "eth2"]


def test_each_nodes_addresses_are_in_a_place_of_its_own_and_nobody_has_one_twice() -> None:
    lab = cluster(deployment("web", 18), topo=vpc(2))
    every = [address for node in lab.nodes for up in node.uplinks for address in (*up.addresses, *up.assigned)]
    assert len({str(address).split("/", 1)[0] for address in every}) == len(every) == 2 * 3 * 4
    assert {each.node: str(each.addresses[0]).rsplit(".", 1)[0] for each in lab.pods} == {
        "node1": "10.0.1",
        "node2": "10.0.2",
    }


def test_an_address_that_came_back_is_the_last_to_be_given() -> None:
    before = all_ready(cluster(pod("a"), pod("b"), topo=vpc()))
    after = again(before, pod("c"), deletes=[("Pod", "default", "a")])
    assert given(after) == ["10.0.1.2", "10.0.1.3"]


def test_enis_stay_attached_when_their_pods_are_gone() -> None:
    before = all_ready(cluster(deployment("web", 9), topo=vpc()))
    after = all_ready(again(before, deletes=[("Deployment", "default", "web")]))
    assert not after.pods
    assert list(enis(after)) == ["eth0", "eth1", "eth2"]


def test_with_prefix_delegation_a_node_starts_with_one_prefix_and_takes_the_next_in_time() -> None:
    topo = vpc(prefix_delegation=True)
    assert enis(cluster(topo=topo)) == {"eth0": "10.0.0.11: 10.0.1.0/28"}
    assert enis(cluster(deployment("web", 1), topo=topo)) == {"eth0": "10.0.0.11: 10.0.1.0/28 10.0.1.16/28"}
    assert enis(cluster(deployment("web", 17), topo=topo))["eth0"].endswith("10.0.1.32/28")
    lab = cluster(deployment("web", 58), topo=topo)  # docs/prefix-and-ip-target.md: 3 and 2 prefixes
    assert [len(up.assigned) for up in lab.nodes[0].uplinks] == [3, 2]
    assert str(lab.nodes[0].uplinks[1].addresses[0]) == "10.0.1.48/20"
    assert all(up.assigned[0].prefixlen == 28 for up in lab.nodes[0].uplinks)
    assert len(set(given(lab))) == 58


def test_a_nodes_label_says_what_it_is_and_one_without_gets_the_label() -> None:
    nodes = (NodeEntry(name="node1"), NodeEntry(name="node2", labels={LABEL: "m5.large"}))
    lab = cluster(topo=Topology(name="lab", nodes=nodes, cni=vpc().cni, ranges=VPC, fabric=vpc().fabric))
    assert [len(node.uplinks[0].assigned) for node in lab.nodes] == [3, 9]
    assert get(lab, "Node", "node1", "").metadata.labels[LABEL] == "t3.small"


def test_a_node_has_no_pod_cidr_and_a_public_address() -> None:
    node = get(cluster(topo=vpc()), "Node", "node1", "")
    assert (node.spec.pod_cidr, node.spec.pod_cidrs) == ("", ())
    assert [(each.type, each.address) for each in node.status.addresses[:2]] == [
        ("InternalIP", "10.0.0.11"),
        ("ExternalIP", "198.51.100.11"),
    ]


@pytest.mark.parametrize(
    ("name", "most"), [("t3.nano", 4), ("t3.small", 11), ("t3.medium", 17), ("m5.large", 29), ("c5.xlarge", 58),
                       ("t3.large", 35), ("m5.4xlarge", 234), ("m5.metal", 737)]
)  # fmt: skip
def test_a_type_holds_as_many_pods_as_kubelet_is_told_on_it(name: str, most: int) -> None:
    """misc/eni-max-pods.txt of amazon-vpc-cni-k8s: with the two of the host network."""
    assert instance_of(vpc(instance_type=name), "node1").pods + 2 == most


def test_prefixes_hold_16_times_as_many_up_to_what_aws_recommends() -> None:
    assert instance_of(vpc(instance_type="t3.nano", prefix_delegation=True), "node1").pods == 2 * 1 * 16
    assert instance_of(vpc(prefix_delegation=True), "node1").pods == 110 - 2
    assert len(TYPES) == len({*TYPES}) > 60


def refusal(pods: int, topo: Topology) -> str:
    with pytest.raises(PlanError) as refused:
        cluster(deployment("web", pods), topo=topo)
    assert "prefix_delegation" in refused.value.hint
    return refused.value.message


def test_an_instance_type_that_is_too_small_is_refused_with_the_arithmetic() -> None:
    assert refusal(10, vpc()) == (
        "the nodes hold 9 Pods (1 x t3.small: 3 ENIs x (4 addresses - 1) = 9 Pods), "
        "the manifests ask for 10: Deployment default/web 10"
    )


def test_a_subnet_that_is_too_small_is_refused_with_the_arithmetic() -> None:
    assert refusal(10, vpc(2, subnet="10.0.0.0/28")) == (
        "ranges.nodes 10.0.0.0/28 has 16 addresses less 5 of AWS's = 11 less 2 of nodes = 9 for Pods, "
        "the manifests ask for 10: Deployment default/web 10"
    )


def test_a_subnet_that_the_further_enis_use_up_is_refused_too() -> None:
    """10 would be left, but for what eth1 and eth2 need for themselves."""
    assert refusal(9, vpc(subnet="10.0.0.0/28")) == (
        "node node1: 9 Pods are to run there, it is a t3.small: 3 ENIs x (4 addresses - 1) = 9 Pods, and its subnet "
        "10.0.0.0/28 has 16 addresses less 5 of AWS's = 11 for all ENIs and Pods: 1 Pods get no address"
    )


def test_in_a_running_cluster_pods_that_are_too_many_wait() -> None:
    before = all_ready(cluster(deployment("web", 9), topo=vpc()))
    after = again(before, deployment("web", 10))
    (waiting,) = (each for each in pods_of(after, "web") if not each.spec.node_name)
    assert waiting.status.conditions[0].message.startswith("0/1 nodes are available: 1 Too many pods.")


def test_a_pod_of_a_named_node_that_is_full_gets_no_address() -> None:
    before = all_ready(cluster(deployment("web", 9), topo=vpc()))
    late = get(again(before, pod("late", node_name="node1")), "Pod", "late")
    assert not late.status.pod_ip
    assert any("failed to assign an IP address to container" in each.message for each in late.status.conditions)


def test_the_addresses_that_aws_keeps_are_nobodys() -> None:
    lab = cluster(deployment("web", 6), topo=vpc(1, subnet="10.0.0.0/28", warm_eni_target=0))
    kept = {str(ip_network("10.0.0.0/28")[number]) for number in (0, 1, 2, 3, 15)}
    assert kept.isdisjoint(given(lab))
