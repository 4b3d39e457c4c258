"""Pods → Nodes: the Node with the fewest Pods, then the order of the topology. `nodeName` and `nodeSelector` are
honoured, and a Pod that asks for an address goes where that address belongs.

A Pod that fits nowhere stays Pending with the real scheduler's message. A placed one shows its containers as being
created until the kubelet reports. Source: kubernetes pkg/scheduler/framework/types.go (FitError).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network

from emu.api.objects import (
    Condition,
    Container,
    ContainerState,
    ContainerStateWaiting,
    ContainerStatus,
    Node,
    Objects,
    Pod,
    PodStatus,
)
from emu.api.topology import Topology
from emu.cluster import ipam
from emu.cluster.hostports import HostPorts, host_ports, taken
from emu.cluster.lifecycle import is_active, with_condition
from emu.cluster.objectmap import changed, in_turn, of_kind, subject
from emu.cluster.passes.asked import asked_addresses
from emu.cluster.selectors import has_all
from emu.errors import InputError

SELECTOR = "node(s) didn't match Pod's node affinity/selector"
CORDONED = "node(s) were unschedulable"
NOT_READY = "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"
PORTS = "node(s) didn't have free ports for the requested pod ports"
TOO_MANY = "Too many pods"  # kubelet's --max-pods
ADDRESS = "node(s) didn't have the requested address in their Pod range"


def schedule(topology: Topology, objects: Objects, now: str) -> Objects:
    waiting = [pod for pod in of_kind(objects, Pod) if is_active(pod) and not _is_placed(pod)]
    if not waiting:
        return objects
    nodes = list(of_kind(objects, Node))
    load = Counter(pod.spec.node_name for pod in of_kind(objects, Pod) if is_active(pod))
    ports = taken(pod for pod in of_kind(objects, Pod) if _is_placed(pod))
    limits = {node.metadata.name: ipam.of(topology).most_pods(topology, node.metadata.name) for node in nodes}
    puts = []
    for pod in in_turn(waiting):
        asked = [_named(pod, nodes)] if pod.spec.node_name else nodes
        full = {name for name, most in limits.items() if most is not None and load[name] >= most}
        node = _chosen(pod, asked, load, ports, full)
        if node is None:
            puts.append(_unschedulable(pod, asked, ports, full, now))
            continue
        if not pod.spec.node_name:
            load[node.metadata.name] += 1
        ports[node.metadata.name] |= host_ports(pod)
        puts.append(_placed(pod, node, now))
    return changed(objects, puts)


def _is_placed(pod: Pod) -> bool:
    return bool(pod.spec.node_name and pod.status.host_ip)


def _named(pod: Pod, nodes: Sequence[Node]) -> Node:
    for node in nodes:
        if node.metadata.name == pod.spec.node_name:
            return node
    known = ", ".join(node.metadata.name for node in nodes)
    raise InputError(f"spec.nodeName is {pod.spec.node_name}, the nodes are {known}", subject=subject(pod))


def _chosen(
    pod: Pod, nodes: Sequence[Node], load: Counter[str], ports: Mapping[str, HostPorts], full: Collection[str]
) -> Node | None:
    """Of equals the first in the order of the topology: sorting keeps it."""
    emptiest_first = sorted(nodes, key=lambda node: load[node.metadata.name])
    return next((node for node in emptiest_first if not _misfit(pod, node, ports, full)), None)


def _misfit(pod: Pod, node: Node, ports: Mapping[str, HostPorts], full: Collection[str]) -> str:
    """Why the Pod cannot go there, "" if it can. A Pod that names its Node is not scheduled: only its ports count."""
    if ports[node.metadata.name] & host_ports(pod):
        return PORTS
    if pod.spec.node_name:
        return ""
    if node.spec.unschedulable:
        return CORDONED
    if not any(condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions):
        return NOT_READY
    if not has_all(pod.spec.node_selector, node.metadata.labels):
        return SELECTOR
    if node.metadata.name in full:
        return TOO_MANY
    asked = asked_addresses(pod)
    ranges = [ip_network(cidr) for cidr in node.spec.pod_cidrs] if asked else []
    return "" if all(any(address in cidr for cidr in ranges) for address in asked) else ADDRESS


def _placed(pod: Pod, node: Node, now: str) -> Pod:
    internal = next(address.address for address in node.status.addresses if address.type == "InternalIP")
    scheduled = Condition(type="PodScheduled", status="True", last_transition_time=now)
    status = replace(
        pod.status,
        conditions=with_condition(pod.status.conditions, scheduled),
        host_ip=internal,
        start_time=pod.status.start_time or now,
    )
    spec = pod.spec if pod.spec.node_name else replace(pod.spec, node_name=node.metadata.name)
    return replace(pod, spec=spec, status=_creating(pod, status))


def _creating(pod: Pod, status: PodStatus) -> PodStatus:
    """What a kubelet shows before it has a sandbox: the init containers first, if there are any."""
    if status.container_statuses:
        return status
    init, reason = pod.spec.init_containers, "ContainerCreating"
    return replace(
        status,
        init_container_statuses=tuple(_waiting(container, "PodInitializing") for container in init),
        container_statuses=tuple(
            _waiting(container, "PodInitializing" if init else reason) for container in pod.spec.containers
        ),
    )


def _waiting(container: Container, reason: str) -> ContainerStatus:
    state = ContainerState(waiting=ContainerStateWaiting(reason=reason))
    return ContainerStatus(name=container.name, image=container.image, state=state)


def _unschedulable(
    pod: Pod, nodes: Sequence[Node], ports: Mapping[str, HostPorts], full: Collection[str], now: str
) -> Pod:
    """The same Pod when it already says so."""
    reasons = Counter(_misfit(pod, node, ports, full) for node in nodes)
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    none = f"0/{len(nodes)} nodes are available"
    message = f"{none}: {listed}. preemption: {none}: {len(nodes)} Preemption is not helpful for scheduling."
    condition = Condition(
        type="PodScheduled", status="False", reason="Unschedulable", message=message, last_transition_time=now
    )
    conditions = with_condition(pod.status.conditions, condition)
    if conditions is pod.status.conditions:
        return pod
    return replace(pod, status=replace(pod.status, conditions=conditions))
