"""Plain Docker's addresses and the ports of Nodes that lead to containers."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_world import again, all_ready, cluster, container, get, pod, topology, where_is

from emu.api import load
from emu.api.objects import ContainerPort, Pod
from emu.api.topology import Cni, Proxy, Ranges, Topology
from emu.errors import InputError


def docker(nodes: int = 2) -> Topology:
    return topology(nodes, cni=Cni(mode="docker"), proxy=Proxy(mode="none"), ranges=Ranges(pods=("172.17.0.0/16",)))


def on(name: str, node: str) -> Pod:
    return pod(name, node_name=node)


def published(name: str, port: int = 8080, **spec: object) -> Pod:
    return pod(name, containers=(container(ports=(ContainerPort(container_port=80, host_port=port),)),), **spec)


def test_each_host_gives_the_same_addresses_and_says_so() -> None:
    lab = cluster(on("a", "node1"), on("b", "node2"), on("c", "node1"), topo=docker())
    assert where_is(lab) == {"a": "node1 172.17.0.2", "b": "node2 172.17.0.2", "c": "node1 172.17.0.3"}
    assert lab.warnings == (
        "1 Pod address is given on several Nodes, each of which reaches its own: "
        "172.17.0.2 is Pod default/a on node1, Pod default/b on node2",
    )


def test_the_lowest_free_address_is_given_again() -> None:
    lab = all_ready(cluster(on("a", "node1"), on("b", "node1"), topo=docker()))
    gone = again(lab, deletes=[("Pod", "default", "a")])
    assert where_is(again(gone, on("c", "node1"))) == {"b": "node1 172.17.0.3", "c": "node1 172.17.0.2"}


def test_nobody_can_ask_for_an_address_of_docker0() -> None:
    with pytest.raises(InputError, match="docker run --ip works on networks of one's own"):
        cluster(pod("a", ip="172.17.0.9"), topo=docker())


def test_the_mode_brings_its_range_and_no_proxy_and_no_cluster_dns(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text("{name: a, nodes: 2, cni: docker}")
    topo = load.topology(tmp_path)
    assert (topo.ranges.pods, topo.proxy.mode, topo.dns.replicas) == (("172.17.0.0/16",), "none", 0)
    lab = cluster(pod("a"), topo=topo)
    assert not [key for key in lab.objects if key[1] == "kube-system" and key[0] in ("Service", "Deployment")]
    assert lab.pods[0].resolv_conf == ""


def test_what_a_topology_says_itself_stays(tmp_path: Path) -> None:
    text = "{name: a, nodes: 1, cni: docker, proxy: iptables, dns: {replicas: 1}, ranges: {pods: 10.1.0.0/24}}"
    (tmp_path / "topology.yaml").write_text(text)
    topo = load.topology(tmp_path)
    assert (topo.ranges.pods, topo.proxy.mode, topo.dns.replicas) == (("10.1.0.0/24",), "iptables", 1)


def test_a_host_port_is_refused_where_the_mode_has_none() -> None:
    with pytest.raises(InputError) as error:
        cluster(published("a"), topo=topology(1))
    assert str(error.value).startswith(
        "Pod default/a: hostPort is 8080, and with cni flannel-vxlan the Node's own ports lead to no Pod"
    )
    assert "docker" in error.value.hint


def test_a_port_of_a_node_has_one_pod() -> None:
    lab = cluster(published("a"), published("b"), published("c"), topo=docker())
    assert where_is(lab) == {"a": "node1 172.17.0.2", "b": "node2 172.17.0.2"}
    waiting = get(lab, "Pod", "c")
    assert isinstance(waiting, Pod) and waiting.status.phase == "Pending"
    assert "2 node(s) didn't have free ports for the requested pod ports" in waiting.status.conditions[0].message
    freed = again(all_ready(lab), deletes=[("Pod", "default", "b")])
    assert where_is(freed)["c"] == "node2 172.17.0.2"


def test_a_pod_that_names_its_node_waits_for_the_port_too() -> None:
    lab = cluster(published("a", node_name="node1"), published("b", node_name="node1"), topo=docker())
    assert where_is(lab) == {"a": "node1 172.17.0.2"}
    other = cluster(published("a", node_name="node1"), published("b", 8081, node_name="node1"), topo=docker())
    assert len(other.pods) == 2


def test_two_containers_of_a_pod_cannot_publish_the_same_port(tmp_path: Path) -> None:
    text = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
    - {name: a, image: nginx, ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 81, hostPort: 8080}]}
"""
    with pytest.raises(InputError, match=r"ports\[1\].hostPort is 8080/TCP, which"):
        load.parse_manifests(text, "pod.yaml")
