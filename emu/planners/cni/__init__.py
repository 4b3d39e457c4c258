"""CNI modes: how Pods are joined and Nodes carry their packets. A mode is one file here and one name in MODES."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from types import ModuleType

from emu.api.topology import Topology
from emu.cluster.model import Cluster
from emu.planners import choices
from emu.planners.cni import (
    aws_vpc,
    calico_bgp,
    calico_ipip,
    calico_vxlan,
    canal,
    cilium,
    docker,
    docker_swarm,
    flannel_host_gw,
    flannel_vxlan,
    plugins,
    vm,
)

MODES: tuple[ModuleType, ...] = (
    flannel_vxlan,
    flannel_host_gw,
    calico_vxlan,
    calico_bgp,
    calico_ipip,
    canal,
    cilium,
    docker,
    docker_swarm,
    vm,
    plugins,
    aws_vpc,
)


def mode(name: str) -> ModuleType:
    """Raises Wrong for one that there is not."""
    return choices.mode("cni", name, MODES)


def check(topology: Topology) -> None:
    """Raises Wrong, at the field, for what the mode does not take."""
    mode(topology.cni.mode).check(topology)


def vips(cluster: Cluster) -> Mapping[tuple[str, str], IPv4Address]:
    """Where a mode's own name servers tell a service by a virtual address: that, by namespace and name."""
    found = getattr(mode(cluster.topology.cni.mode), "vips", None)
    return found(cluster) if found else {}


def notes(cluster: Cluster) -> tuple[str, ...]:
    """What the mode has to say of this plan."""
    told = getattr(mode(cluster.topology.cni.mode), "notes", None)
    return tuple(told(cluster)) if told else ()
