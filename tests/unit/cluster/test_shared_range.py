"""Addresses from a range that all Nodes share: the Node network, where Pods are hosts of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_world import again, all_ready, cluster, pod, topology, where_is

from emu import planners
from emu.api import load
from emu.api.topology import Cni, NodeEntry, Proxy, Ranges, Topology
from emu.errors import InputError

NETWORK = Ranges(pods=("192.168.100.0/24",))


def vm(count: int = 2, ranges: Ranges = NETWORK, **rest: object) -> Topology:
    return topology(count, cni=Cni(mode="vm"), proxy=Proxy(mode="none"), ranges=ranges, **rest)


def loaded(folder: Path, text: str) -> Topology:
    (folder / "topology.yaml").write_text(text)
    return load.topology(folder, planners.check)


def test_machines_are_hosts_of_the_node_network_from_101_on_wherever_they_run() -> None:
    lab = cluster(pod("a", node_name="node1"), pod("b", node_name="node2"), pod("c", node_name="node1"), topo=vm())
    assert where_is(lab) == {
        "a": "node1 192.168.100.101",
        "b": "node2 192.168.100.102",
        "c": "node1 192.168.100.103",
    }


def test_a_replaced_machine_has_another_address_also_when_all_had_gone() -> None:
    lab = all_ready(cluster(pod("a"), topo=vm(1)))
    gone = again(lab, deletes=[("Pod", "default", "a")])
    assert where_is(again(gone, pod("b"))) == {"b": "node1 192.168.100.102"}


def test_it_goes_round_past_nodes_the_gateway_and_whoever_has_asked() -> None:
    small = Ranges(nodes=("192.168.100.0/28",), pods=("192.168.100.0/28",))
    entry = (NodeEntry(name="node1", address="192.168.100.14"),)
    asked = pod("asked", ip="192.168.100.13")
    lab = cluster(asked, *(pod(name) for name in "abc"), topo=vm(1, small, nodes=entry))
    # Number 101 of a range of 16 is number 5.
    assert where_is(lab)["a"] == "node1 192.168.100.5"
    lab = cluster(asked, *(pod(f"p{n:02}") for n in range(11)), topo=vm(1, small, nodes=entry))
    given = {place.split()[1] for place in where_is(lab).values() if " " in place}
    assert given == {f"192.168.100.{n}" for n in range(2, 14)}  # .1 is the gateway's, .14 the Node's


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("192.168.100.11", "192.168.100.11 is of the network itself or of a Node"),
        ("192.168.100.1", "192.168.100.1 is of the network itself or of a Node"),
    ],
)
def test_an_address_that_cannot_be_asked_for_is_refused_with_the_reason(ip: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        cluster(pod("a", ip=ip), topo=vm())


def test_the_mode_brings_the_node_network_whatever_that_is(tmp_path: Path) -> None:
    topo = loaded(tmp_path, "{name: a, nodes: 2, cni: vm, ranges: {nodes: 10.1.0.0/24}}")
    assert (topo.ranges.pods, topo.proxy.mode, topo.dns.replicas) == (("10.1.0.0/24",), "none", 0)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "name: a\nnodes: 2\ncni: vm\nranges:\n  pods: 10.244.0.0/16\n",
            r"topology.yaml:5: ranges.pods is 10.244.0.0/16, must be that of ranges.nodes: 192.168.100.0/24",
        ),
        (
            "name: a\nnodes: 2\ncni: vm\nranges:\n  services: 192.168.0.0/16\n",
            r"ranges.nodes 192.168.100.0/24 overlaps ranges.services 192.168.0.0/16",
        ),
        ("name: a\nnodes: 2\ncni: vm\nfamily: ipv6\n", r"topology.yaml:4: family is ipv6, must be ipv4 with cni vm"),
        (
            "name: a\nnodes: [{name: n, switch: r1}]\ncni: vm\n"
            "fabric:\n  switches: [r1, r2]\n  routers: [{name: r, links: [r1, r2]}]\n"
            "ranges:\n  nodes: 192.168.1.0/24,192.168.2.0/24\n",
            r"topology.yaml:6: fabric.routers join racks, and cni vm has one network of Nodes and Pods",
        ),
    ],
)
def test_what_is_no_one_network_is_refused_at_its_line(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        loaded(tmp_path, text)
