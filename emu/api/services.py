"""Services and their endpoints. See `emu.api.objects`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from emu.api.meta import IntOrString, Labels, ObjectMeta, json_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: IntOrString | None = None  # None: same as port
    app_protocol: str = ""
    REFUSED: ClassVar = {"nodePort": "only Services of type ClusterIP are"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIPConfig:
    timeout_seconds: int = 10800


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionAffinityConfig:
    client_ip: ClientIPConfig = json_name("clientIP", default_factory=ClientIPConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    type: str = "ClusterIP"
    selector: Labels | None = None  # None: endpoints are made by hand
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = json_name("clusterIP", default="")  # "None": headless
    cluster_ips: tuple[str, ...] = json_name("clusterIPs", default=())
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str = "Cluster"
    publish_not_ready_addresses: bool = False
    REFUSED_VALUES: ClassVar = {
        "type": {name: f"Service type {name} is not built yet" for name in ("NodePort", "LoadBalancer", "ExternalName")}
    }
    REFUSED: ClassVar = {
        "externalIPs": "a Service is reached at its clusterIP only",
        "trafficDistribution": "there are no zones",
        **dict.fromkeys(
            (
                "externalName", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerIP", "loadBalancerClass",
                "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts",
            ),
            "only Services of type ClusterIP are",
        ),
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    IGNORED: ClassVar = frozenset({"loadBalancer", "conditions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    API_VERSION: ClassVar = "v1"
    KIND: ClassVar = "Service"
    metadata: ObjectMeta
    spec: ServiceSpec
    status: ServiceStatus = field(default_factory=ServiceStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    IGNORED: ClassVar = frozenset({"apiVersion", "fieldPath", "resourceVersion"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointAddress:
    ip: str
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPort:
    """One port of an Endpoints subset or of an EndpointSlice."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSubset:
    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    API_VERSION: ClassVar = "v1"
    KIND: ClassVar = "Endpoints"
    metadata: ObjectMeta
    subsets: tuple[EndpointSubset, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConditions:
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    addresses: tuple[str, ...]
    conditions: EndpointConditions = field(default_factory=EndpointConditions)
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference | None = None
    IGNORED: ClassVar = frozenset({"hints", "deprecatedTopology"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    API_VERSION: ClassVar = "discovery.k8s.io/v1"
    KIND: ClassVar = "EndpointSlice"
    metadata: ObjectMeta
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
