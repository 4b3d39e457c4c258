"""Namespaces and Nodes, the kinds that live in no namespace. See `emu.api.objects`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from emu.api.meta import Condition, ObjectMeta, json_name


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceStatus:
    phase: str = "Active"
    IGNORED: ClassVar = frozenset({"conditions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSpec:
    IGNORED: ClassVar = frozenset({"finalizers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """Cluster-scoped, as Node is: `metadata.namespace` stays empty."""

    API_VERSION: ClassVar = "v1"
    KIND: ClassVar = "Namespace"
    metadata: ObjectMeta
    spec: NamespaceSpec = field(default_factory=NamespaceSpec)
    status: NamespaceStatus = field(default_factory=NamespaceStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    type: str  # InternalIP, ExternalIP, Hostname
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    pod_cidr: str = json_name("podCIDR", default="")
    pod_cidrs: tuple[str, ...] = json_name("podCIDRs", default=())
    unschedulable: bool = False
    IGNORED: ClassVar = frozenset({"providerID", "externalID", "configSource", "podPreemptionPolicy"})
    REFUSED: ClassVar = {"taints": "there are no tolerations; unschedulable keeps Pods away"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSystemInfo:
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    architecture: str = ""
    IGNORED: ClassVar = frozenset(
        {
            "bootID", "kubeProxyVersion", "machineID", "operatingSystem", "runningInUserNamespace", "swap",
            "systemUUID",
        }
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    node_info: NodeSystemInfo = field(default_factory=NodeSystemInfo)
    IGNORED: ClassVar = frozenset(
        {
            "allocatable", "capacity", "config", "daemonEndpoints", "declaredFeatures", "features", "images", "phase",
            "runtimeHandlers", "volumesAttached", "volumesInUse",
        }
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    API_VERSION: ClassVar = "v1"
    KIND: ClassVar = "Node"
    metadata: ObjectMeta
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)
