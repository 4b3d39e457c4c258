"""Clusters built by hand, for tests of the planners."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from emu.addressing import carve
from emu.api.images import Program
from emu.api.objects import Container
from emu.api.topology import Cni, Fabric, NodeEntry, Ranges, Topology
from emu.cluster.model import Backend, Cluster, ContainerPlan, Frontend, Node, Pod

FAMILIES = {"ipv4": (4,), "ipv6": (6,), "ipv4-ipv6": (4, 6), "ipv6-ipv4": (6, 4)}
RANGES = {
    4: ("192.168.100.0/24", "10.244.0.0/16", 24, "10.96.0.0/12"),
    6: ("fd00:100::/64", "fd00:10:244::/48", 64, "fd00:10:96::/112"),
}


def cluster(nodes: int = 2, pods: int = 1, services: int = 1, family: str = "ipv4", **changes: object) -> Cluster:
    """`pods` on each Node, `services` that share all Pods out among them (every Pod is behind one Service)."""
    families = FAMILIES[family]
    made = tuple(_node(index, families) for index in range(1, nodes + 1))
    placed = tuple(_pod(node, number) for node in made for number in range(pods))
    values: dict[str, object] = {
        "name": "lab",
        "seed": 7,
        "topology": Topology(
            name="lab",
            seed=7,
            nodes=tuple(NodeEntry(name=node.name) for node in made),
            fabric=Fabric(),
            ranges=Ranges(),
            family=family,
            cni=Cni(mode="flannel-vxlan"),
        ),
        "families": families,
        "nodes": made,
        "pods": placed,
        "frontends": tuple(frontend(index, placed[index::services], f) for f in families for index in range(services)),
        "pod_ranges": tuple(ip_network(RANGES[f][1]) for f in families),
        "service_ranges": tuple(ip_network(RANGES[f][3]) for f in families),
        "node_ranges": tuple(ip_network(RANGES[f][0]) for f in families),
        "objects": {},
    }
    return Cluster(**{**values, **changes})  # type: ignore[arg-type]


def _node(index: int, families: tuple[int, ...]) -> Node:
    return Node(
        name=f"node{index}",
        index=index,
        addresses=tuple(_node_address(f, index) for f in families),
        pod_cidrs=tuple(carve(ip_network(RANGES[f][1]), RANGES[f][2], index) for f in families),
        switch="fabric",
    )


def _node_address(family: int, index: int):  # type: ignore[no-untyped-def]
    network = ip_network(RANGES[family][0])
    return ip_interface(f"{network.network_address + 10 + index}/{network.prefixlen}")


def _pod(node: Node, number: int) -> Pod:
    name = f"web-{node.index}-{number}"
    return Pod(
        namespace="default",
        name=name,
        uid=f"uid-{name}",
        node=node.name,
        addresses=tuple(cidr.network_address + 2 + number for cidr in node.pod_cidrs),
        labels={"app": "web"},
        hostname=name,
        containers=(
            ContainerPlan(container=Container(name="web", image="web"), program=Program(serve="hello"), env={}),
        ),
        resolv_conf="search default.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
        hosts="127.0.0.1\tlocalhost\n",
    )


def frontend(index: int, pods: tuple[Pod, ...], family: int = 4) -> Frontend:
    service_range = ip_network(RANGES[family][3])
    return Frontend(
        namespace="default",
        service=f"web-{index}",
        port_name="http",
        protocol="TCP",
        port=80,
        cluster_ip=service_range.network_address + 256 + index,
        backends=tuple(
            Backend(address=ip_address(str(address)), port=8080, node=pod.node)
            for pod in pods
            for address in pod.addresses
            if address.version == family
        ),
    )
