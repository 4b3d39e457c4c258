"""What holds of ENIs whatever Pods come and go: an address is one Pod's or one ENI's, a Pod's is of its Node's ENIs."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from emu.api import images
from emu.api.objects import (
    Container,
    Deployment,
    DeploymentSpec,
    LabelSelector,
    ObjectMeta,
    Objects,
    Pod,
    PodSpec,
    PodTemplateSpec,
    key_of,
)
from emu.api.topology import Cni, Dns, Fabric, NodeEntry, Ranges, Topology
from emu.cluster.ipam.aws_instances import TYPES, instance_of
from emu.cluster.model import Cluster
from emu.cluster.resolve import resolve

NOW = "2026-01-01T00:00:00Z"
REGISTRY = images.load_registry({})
SMALL = [name for name in TYPES if name.endswith((".nano", ".small", ".medium")) and not name.startswith("t2.")]

topologies = st.builds(
    lambda count, kind, prefixes, warm: Topology(
        name="lab",
        nodes=tuple(NodeEntry(name=f"node{n}") for n in range(1, count + 1)),
        dns=Dns(replicas=0),
        ranges=Ranges(nodes=("10.0.0.0/22",), pods=("10.0.0.0/16",)),
        fabric=Fabric(kind="vpc"),
        cni=Cni(
            mode="aws-vpc",
            options={"instance_type": kind, "prefix_delegation": prefixes, "warm_eni_target": warm},
        ),
    ),
    st.integers(1, 3),
    st.sampled_from(SMALL),
    st.booleans(),
    st.integers(0, 2),
)


def web(replicas: int) -> Deployment:
    spec = PodSpec(containers=(Container(name="main", image="nginxdemos/hello"),))
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"app": "web"}), spec=spec)
    selector = LabelSelector(match_labels={"app": "web"})
    return Deployment(
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=DeploymentSpec(replicas=replicas, selector=selector, template=template),
    )


def scaled(topology: Topology, objects: Objects, replicas: int) -> Cluster:
    """After what terminates has gone."""
    deployment = web(replicas)
    found = resolve(topology, {**objects, key_of(deployment): deployment}, REGISTRY, NOW)
    left = {
        key: obj for key, obj in found.objects.items() if not (isinstance(obj, Pod) and obj.metadata.deletion_timestamp)
    }
    return resolve(topology, left, REGISTRY, NOW, previous=found)


@settings(max_examples=40, deadline=None)
@given(topologies, st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_an_address_has_one_holder_and_a_pods_is_of_its_nodes_enis(topology: Topology, steps: list[int]) -> None:
    cluster = scaled(topology, {}, 0)
    for replicas in steps:
        cluster = scaled(topology, dict(cluster.objects), replicas)
        nodes = {node.name: node for node in cluster.nodes}
        own = [up.addresses[0].ip for node in cluster.nodes for up in node.uplinks]
        assigned = [address for node in cluster.nodes for up in node.uplinks for net in up.assigned for address in net]
        assert max(Counter((*own, *assigned)).values()) == 1
        assert max(Counter(pod.addresses[0] for pod in cluster.pods).values(), default=1) == 1
        for pod in cluster.pods:
            assert any(pod.addresses[0] in net for up in nodes[pod.node].uplinks for net in up.assigned)
        for node in cluster.nodes:
            limit = instance_of(topology, node.name)
            assert 1 <= len(node.uplinks) <= limit.enis
            assert all(len(up.assigned) <= limit.addresses - 1 for up in node.uplinks)
            assert len(cluster.pods_on(node.name)) <= limit.pods
        room = sum(instance_of(topology, name).pods for name in nodes)
        assert len(cluster.pods) == min(replicas, room)
        again = resolve(topology, cluster.objects, REGISTRY, NOW, previous=cluster)
        assert again.objects == cluster.objects
