"""The kinds of path there are beside the usual ones where Nodes have several uplinks, with Pods' addresses on each, and
where there is an internet behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emu import names
from emu.cluster.model import Cluster, Pod
from emu.plan.model import IPAddress
from emu.trace.model import Flow


def flows(cluster: Cluster, pods: Sequence[Pod]) -> Iterator[Flow]:
    """`pods`: those that may be asked, the likeliest first."""
    by_dev: dict[str, Pod] = {}
    for pod in pods:
        by_dev.setdefault(_dev(cluster, pod), pod)
    further = [(dev, by_dev[dev]) for dev in sorted(by_dev) if dev not in ("", names.UPLINK)]
    for dev, pod in further:
        other = next((each for each in pods if each.node != pod.node and _dev(cluster, each) != dev), None)
        if other:
            yield _ping(_netns(pod), other.addresses[0], f"Pod of {dev} to Pod, other Node: {pod.key} → {other.key}")
            yield _ping(_netns(other), pod.addresses[0], f"Pod to Pod of {dev}, other Node: {other.key} → {pod.key}")
    yield from _outside(cluster, by_dev)


def _outside(cluster: Cluster, by_dev: dict[str, Pod]) -> Iterator[Flow]:
    internet = next((router for router in cluster.routers if router.name == names.INTERNET), None)
    if internet is None:
        return
    address = internet.ports[0].addresses[0].ip
    for dev in sorted(by_dev):
        of = f" of {dev}" if dev else ""
        yield _ping(_netns(by_dev[dev]), address, f"Pod{of} to the internet: {by_dev[dev].key} → {address}")
    node = cluster.nodes[0]
    yield _ping(node.name, address, f"Node to the internet: {node.name} → {address}")
    if node.public_address:
        label = f"the internet to a Node: {internet.name} → {node.public_address} of {node.name}"
        yield _ping(internet.name, node.public_address, label)


def _dev(cluster: Cluster, pod: Pod) -> str:
    """The uplink that its address is assigned to; "" where none is."""
    uplinks = cluster.node(pod.node).uplinks
    return next((up.dev for up in uplinks if any(pod.addresses[0] in network for network in up.assigned)), "")


def _netns(pod: Pod) -> str:
    return names.pod_netns(pod.namespace, pod.name)


def _ping(netns: str, address: IPAddress, label: str) -> Flow:
    return Flow(netns=netns, dst=address, proto="icmp", dport=0, label=label)
