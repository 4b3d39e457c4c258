"""Ports of Nodes that lead to containers (`hostPort`): who asks for them, and whether the CNI mode can do it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from emu.api.cnimodes import CNI_MODES, takes_host_ports
from emu.api.objects import DaemonSet, Deployment, KubeObject, Pod, PodSpec, ReplicaSet
from emu.api.topology import Topology
from emu.cluster.lifecycle import is_finished
from emu.cluster.objectmap import subject
from emu.errors import InputError
from emu.memo import by_identity

HostPorts = frozenset[tuple[str, int]]  # (protocol, port)


def host_ports(pod: Pod) -> HostPorts:
    return _of(pod.spec)


@by_identity
def _of(spec: PodSpec) -> HostPorts:
    return frozenset((p.protocol, p.host_port) for each in spec.containers for p in each.ports if p.host_port)


def taken(pods: Iterable[Pod]) -> defaultdict[str, HostPorts]:
    """By Node. A Pod keeps its ports until it is gone."""
    found: defaultdict[str, HostPorts] = defaultdict(frozenset)
    for pod in pods:
        if not is_finished(pod) and (ports := host_ports(pod)):
            found[pod.spec.node_name] |= ports
    return found


def check(topology: Topology, objects: Iterable[KubeObject]) -> None:
    """Raises InputError for a hostPort that would lead nowhere."""
    if takes_host_ports(topology.cni):
        return
    for obj in objects:
        if isinstance(obj, Deployment | ReplicaSet | DaemonSet):
            _checked(topology, obj, obj.spec.template.spec)
        elif isinstance(obj, Pod):
            _checked(topology, obj, obj.spec)


def _able(topology: Topology) -> str:
    if topology.cni.conflist:
        return "add a plugin with the capability portMappings to the conflist, as portmap is"
    return f"use a mode that can: {', '.join(mode.name for mode in CNI_MODES if mode.host_ports)}"


@by_identity
def _checked(topology: Topology, obj: KubeObject, spec: PodSpec) -> bool:
    ports = sorted(port for _, port in _of(spec))
    if ports:
        what = f"hostPort is {ports[0]}, and with cni {topology.cni.mode} the Node's own ports lead to no Pod"
        raise InputError(what, subject=subject(obj), hint=f"leave it out, or {_able(topology)}")
    return True
