"""Calico's IPAM: blocks of Nodes, tunnel addresses, what happens when something is used up."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from cluster_world import again, cluster, deployment, get, pod, topology

from emu.api.topology import Cni, Ranges
from emu.cluster.model import Cluster
from emu.errors import InputError, PlanError

VXLAN, BGP = Cni(mode="calico-vxlan"), Cni(mode="calico-bgp")


def made(*objects: object, nodes: int = 2, cni: Cni = VXLAN, **fields: object) -> Cluster:
    return cluster(*objects, topo=topology(nodes, cni=cni, **fields))  # type: ignore[arg-type]


def blocks(of: Cluster) -> dict[str, list[str]]:
    return {node.name: [str(block) for block in node.blocks] for node in of.nodes}


def given(of: Cluster) -> dict[str, str]:
    return {each.name: f"{each.node} {each.addresses[0]}" for each in of.pods}


def test_each_node_has_a_block_and_its_first_address_is_the_tunnels() -> None:
    lab = made(pod("a"), pod("b"), pod("c"))
    assert blocks(lab) == {"node1": ["10.244.1.0/26"], "node2": ["10.244.2.0/26"]}
    assert [str(address) for node in lab.nodes for address in node.tunnel_addresses] == ["10.244.1.0", "10.244.2.0"]
    assert given(lab) == {"a": "node1 10.244.1.1", "b": "node2 10.244.2.1", "c": "node1 10.244.1.2"}


def test_without_a_tunnel_the_first_pod_has_the_first_address_and_a_node_without_pods_no_block() -> None:
    lab = made(pod("a"), cni=BGP)
    assert blocks(lab) == {"node1": ["10.244.1.0/26"], "node2": []}
    assert given(lab) == {"a": "node1 10.244.1.0"}


def test_a_tunnel_address_stands_in_calicos_annotation_and_the_pod_cidr_stays() -> None:
    node = get(made(), "Node", "node1", "")
    assert node.metadata.annotations["projectcalico.org/IPv4VXLANTunnelAddr"] == "10.244.1.0"
    assert node.spec.pod_cidr == "10.244.1.0/24"


def test_a_node_whose_block_is_full_takes_another() -> None:
    lab = made(deployment("web", 70), nodes=1)
    assert blocks(lab) == {"node1": ["10.244.1.0/26", "10.244.1.64/26"]}
    assert len({each.addresses for each in lab.pods}) == 70
    assert all(any(each.addresses[0] in block for block in lab.nodes[0].blocks) for each in lab.pods)


def test_an_address_comes_back_last() -> None:
    before = made(pod("a"), pod("b"), nodes=1)
    after = again(before, pod("c"), deletes=[("Pod", "default", "a")])
    assert given(after) == {"b": "node1 10.244.1.2", "c": "node1 10.244.1.3"}


SMALL = {
    "ranges": Ranges(pods=("10.244.0.0/28",), node_pod_prefix=30),
    "cni": Cni(mode="calico-bgp", options={"block_size": 30}),
}


def test_a_node_borrows_single_addresses_when_no_block_is_left() -> None:
    lab = made(deployment("web", 14, node_name="node1"), pod("b", node_name="node2"), **SMALL)
    owners = {block: name for name, of in blocks(lab).items() for block in of}
    assert len(owners) == 4
    borrowed = [p for p in lab.pods if not any(p.addresses[0] in ip_network(b) for b in blocks(lab)[p.node])]
    assert borrowed and len({p.addresses for p in lab.pods}) == 15


def test_a_pool_that_is_used_up_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(PlanError, match=r"ranges.pods 10.244.0.0/28 is a pool of 16 addresses = 16, the manifests ask"):
        made(deployment("web", 17), **SMALL)
    with pytest.raises(
        PlanError, match=r"a pool of 64 addresses less 2 tunnel addresses = 62, the manifests ask for 63"
    ):
        made(deployment("web", 63), ranges=Ranges(pods=("10.244.0.0/26",), node_pod_prefix=27))


def test_an_address_can_be_asked_for_also_of_a_block_nobody_has() -> None:
    lab = made(pod("a", ip="10.244.9.9", node_name="node1"))
    assert blocks(lab)["node1"] == ["10.244.1.0/26", "10.244.9.0/26"]
    assert given(lab) == {"a": "node1 10.244.9.9"}


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("10.244.2.0", "10.244.2.0 is the tunnel address of node node2"),
        ("10.1.2.3", "10.1.2.3 is in no pool: 10.244.0.0/16"),
    ],
)
def test_an_address_that_cannot_be_given_is_refused(ip: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        made(pod("a", ip=ip, node_name="node1"))


def test_a_block_size_that_is_none_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"cni calico-bgp: block_size is 33, must be 20-32 for ranges.pods 10.244.0.0/16"
    ):
        made(pod("a"), cni=Cni(mode="calico-bgp", options={"block_size": 33}))


def test_dual_stack_has_a_block_and_a_tunnel_of_each_family() -> None:
    ranges = Ranges(
        nodes=("192.168.100.0/24", "fd00:100::/64"),
        pods=("10.244.0.0/16", "fd00:10:244::/56"),
        services=("10.96.0.0/12", "fd00:10:96::/112"),
    )
    lab = made(pod("a"), nodes=1, family="ipv4-ipv6", ranges=ranges)
    assert [block.prefixlen for block in lab.nodes[0].blocks] == [26, 122]
    assert len(lab.nodes[0].tunnel_addresses) == 2
    assert [address.version for address in lab.pods[0].addresses] == [4, 6]
