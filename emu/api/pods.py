"""Pods. See `emu.api.objects`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from emu.api.containers import Container, ContainerStatus
from emu.api.meta import Condition, Labels, ObjectMeta, json_name


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDNSConfigOption:
    name: str
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDNSConfig:
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAlias:
    ip: str
    hostnames: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: Labels = field(default_factory=dict)
    hostname: str = ""
    subdomain: str = ""
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfig | None = None
    host_aliases: tuple[HostAlias, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    enable_service_links: bool = True
    service_account_name: str = ""
    priority_class_name: str = ""
    priority: int | None = None
    IGNORED: ClassVar = frozenset(
        {
            "serviceAccount", "automountServiceAccountToken", "schedulerName", "securityContext", "imagePullSecrets",
            "preemptionPolicy", "os", "tolerations", "overhead", "resources", "hostUsers", "evictionResponders",
            "schedulingGroup",
        }
    )  # fmt: skip
    REFUSED: ClassVar = {
        "volumes": "a Pod has its own /tmp, /run and /var, and nothing else to write to",
        "affinity": "nodeSelector and nodeName say where a Pod goes",
        "topologySpreadConstraints": "Pods go to the node with the fewest",
        "hostNetwork": "a Pod has a network namespace of its own",
        "hostPID": "a Pod has a process namespace of its own",
        "hostIPC": "Pods do not choose whose memory they share",
        "shareProcessNamespace": "it would change what a container sees",
        "activeDeadlineSeconds": "Pods are not ended by the clock",
        "runtimeClassName": "there is one way to run a Pod",
        "readinessGates": "a Pod is ready when its containers are",
        "ephemeralContainers": "emu exec gives a shell in any Pod",
        "setHostnameAsFQDN": "the hostname is the Pod's name or spec.hostname",
        "hostnameOverride": "the hostname is the Pod's name or spec.hostname",
        "schedulingGates": "Pods are placed at once",
        "resourceClaims": "there are no devices to claim",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIP:
    ip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    phase: str = "Pending"
    conditions: tuple[Condition, ...] = ()
    host_ip: str = json_name("hostIP", default="")
    pod_ip: str = json_name("podIP", default="")
    pod_ips: tuple[PodIP, ...] = json_name("podIPs", default=())
    start_time: str = ""
    reason: str = ""
    message: str = ""
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    IGNORED: ClassVar = frozenset(
        {
            "qosClass", "hostIPs", "allocatedResources", "ephemeralContainerStatuses", "extendedResourceClaimStatus",
            "nodeAllocatableResourceClaimStatuses", "nominatedNodeName", "observedGeneration", "resize", "resources",
            "resourceClaimStatuses", "volumeHealth",
        }
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    API_VERSION: ClassVar = "v1"
    KIND: ClassVar = "Pod"
    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus = field(default_factory=PodStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplateSpec:
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: PodSpec
