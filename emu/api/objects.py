"""Kubernetes-shaped objects, as frozen values.

A field is the Kubernetes field in snake_case (`podIP` is `pod_ip`); `emu.api.codec` turns YAML and JSON into
these and back. `IGNORED` names fields of real manifests that mean nothing here (accepted, listed once as
ignored); `REFUSED` names those that would change behaviour and are not built (refused by name). A field in
none of the three places is an error. Source: the Kubernetes API reference, v1, apps/v1, discovery.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

Labels = Mapping[str, str]
IntOrString = int | str


def json_name(name: str, **kwargs: Any) -> Any:
    """A field whose Kubernetes name is not the plain camelCase of its own."""
    return field(metadata={"json": name}, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerReference:
    api_version: str = ""
    kind: str
    name: str
    uid: str = ""
    controller: bool = True
    block_owner_deletion: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMeta:
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    IGNORED: ClassVar = frozenset({"managedFields", "selfLink", "finalizers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelectorRequirement:
    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    match_labels: Labels = field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPort:
    container_port: int
    name: str = ""
    protocol: str = "TCP"
    REFUSED: ClassVar = frozenset({"hostPort", "hostIP"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFieldSelector:
    field_path: str
    api_version: str = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVarSource:
    field_ref: ObjectFieldSelector
    REFUSED: ClassVar = frozenset({"configMapKeyRef", "secretKeyRef", "resourceFieldRef"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPHeader:
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPGetAction:
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPSocketAction:
    port: IntOrString
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecAction:
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    REFUSED: ClassVar = frozenset({"grpc"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    stdin: bool = False
    tty: bool = False
    IGNORED: ClassVar = frozenset(
        {
            "imagePullPolicy",
            "resources",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "securityContext",
            "stdinOnce",
        }
    )
    REFUSED: ClassVar = frozenset({"envFrom", "volumeMounts", "volumeDevices", "lifecycle", "restartPolicy"})


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
    IGNORED: ClassVar = frozenset(
        {
            "serviceAccountName", "serviceAccount", "automountServiceAccountToken", "schedulerName", "priority",
            "priorityClassName", "securityContext", "imagePullSecrets", "preemptionPolicy", "os", "tolerations",
            "terminationMessagePath", "topologySpreadConstraints", "activeDeadlineSeconds", "overhead",
        }
    )  # fmt: skip
    REFUSED: ClassVar = frozenset(
        {
            "volumes", "affinity", "hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "runtimeClassName",
            "readinessGates", "ephemeralContainers", "setHostnameAsFQDN", "schedulingGates",
        }
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStateWaiting:
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStateRunning:
    started_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStateTerminated:
    exit_code: int
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    name: str
    image: str = ""
    ready: bool = False
    started: bool = False
    restart_count: int = 0
    state: ContainerState = field(default_factory=ContainerState)
    last_state: ContainerState = field(default_factory=ContainerState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""


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
    IGNORED: ClassVar = frozenset({"qosClass"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    API_VERSION: ClassVar = "v1"
    KIND: ClassVar = "Pod"
    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus = field(default_factory=PodStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceStatus:
    phase: str = "Active"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSystemInfo:
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    architecture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    node_info: NodeSystemInfo = field(default_factory=NodeSystemInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    API_VERSION: ClassVar = "v1"
    KIND: ClassVar = "Node"
    metadata: ObjectMeta
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplateSpec:
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: PodSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    replicas: int = 1
    selector: LabelSelector
    template: PodTemplateSpec
    IGNORED: ClassVar = frozenset(
        {"strategy", "revisionHistoryLimit", "progressDeadlineSeconds", "minReadySeconds", "paused"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    API_VERSION: ClassVar = "apps/v1"
    KIND: ClassVar = "Deployment"
    metadata: ObjectMeta
    spec: DeploymentSpec
    status: DeploymentStatus = field(default_factory=DeploymentStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSetSpec:
    replicas: int = 1
    selector: LabelSelector
    template: PodTemplateSpec
    IGNORED: ClassVar = frozenset({"minReadySeconds"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSetStatus:
    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    fully_labeled_replicas: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSet:
    API_VERSION: ClassVar = "apps/v1"
    KIND: ClassVar = "ReplicaSet"
    metadata: ObjectMeta
    spec: ReplicaSetSpec
    status: ReplicaSetStatus = field(default_factory=ReplicaSetStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSetSpec:
    selector: LabelSelector
    template: PodTemplateSpec
    IGNORED: ClassVar = frozenset({"updateStrategy", "revisionHistoryLimit", "minReadySeconds"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSetStatus:
    observed_generation: int = 0
    current_number_scheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    number_available: int = 0
    number_misscheduled: int = 0
    updated_number_scheduled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSet:
    API_VERSION: ClassVar = "apps/v1"
    KIND: ClassVar = "DaemonSet"
    metadata: ObjectMeta
    spec: DaemonSetSpec
    status: DaemonSetStatus = field(default_factory=DaemonSetStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: IntOrString | None = None  # None: same as port
    app_protocol: str = ""
    REFUSED: ClassVar = frozenset({"nodePort"})


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
    REFUSED: ClassVar = frozenset(
        {
            "externalIPs", "externalName", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerIP",
            "loadBalancerClass", "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "trafficDistribution",
        }
    )  # fmt: skip


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


KubeObject = Namespace | Node | Pod | Deployment | ReplicaSet | DaemonSet | Service | Endpoints | EndpointSlice

#: Every kind, in the order a cluster needs them.
KINDS: tuple[type, ...] = (Namespace, Node, Service, Endpoints, EndpointSlice, DaemonSet, Deployment, ReplicaSet, Pod)
CLUSTER_SCOPED = frozenset({"Namespace", "Node"})

#: (kind, namespace, name): what the store, the passes of `cluster.resolve` and the front ends key objects by.
Key = tuple[str, str, str]
Objects = Mapping[Key, KubeObject]


def key_of(obj: KubeObject) -> Key:
    return (obj.KIND, obj.metadata.namespace, obj.metadata.name)
