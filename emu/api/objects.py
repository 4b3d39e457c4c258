"""Kubernetes-shaped objects, as frozen values.

A field is the Kubernetes field in snake_case (`podIP` is `pod_ip`); `emu.api.codec` turns YAML and JSON into
these and back. `IGNORED` names fields of real manifests that mean nothing here (accepted, listed once as
ignored); `REFUSED` names those that would change behaviour and are not built, with the reason. A field in none of
the three places is an error. `ALWAYS` names fields that are written even when they are 0 or false.
Source: the Kubernetes API reference, v1, apps/v1, discovery.k8s.io/v1.
"""

# ruff: noqa: F401
# The classes stand in a file per family; everybody else takes them from here.

from __future__ import annotations

from collections.abc import Mapping

from emu.api.containers import (
    Container,
    ContainerPort,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    EnvVar,
    EnvVarSource,
    ExecAction,
    HTTPGetAction,
    HTTPHeader,
    ObjectFieldSelector,
    Probe,
    TCPSocketAction,
)
from emu.api.deployments import (
    DaemonSet,
    DaemonSetSpec,
    DaemonSetStatus,
    Deployment,
    DeploymentSpec,
    DeploymentStatus,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
)
from emu.api.meta import (
    Condition,
    IntOrString,
    Labels,
    LabelSelector,
    LabelSelectorRequirement,
    ObjectMeta,
    OwnerReference,
    json_name,
)
from emu.api.nodes import (
    Namespace,
    NamespaceSpec,
    NamespaceStatus,
    Node,
    NodeAddress,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
)
from emu.api.pods import HostAlias, Pod, PodDNSConfig, PodDNSConfigOption, PodIP, PodSpec, PodStatus, PodTemplateSpec
from emu.api.services import (
    ClientIPConfig,
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    ObjectReference,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)

KubeObject = Namespace | Node | Pod | Deployment | ReplicaSet | DaemonSet | Service | Endpoints | EndpointSlice

#: Every kind, in the order a cluster needs them.
KINDS: tuple[type, ...] = (Namespace, Node, Service, Endpoints, EndpointSlice, DaemonSet, Deployment, ReplicaSet, Pod)
CLUSTER_SCOPED = frozenset({"Namespace", "Node"})

#: (kind, namespace, name): what the store, the passes of `cluster.resolve` and the front ends key objects by.
Key = tuple[str, str, str]
Objects = Mapping[Key, KubeObject]


def key_of(obj: KubeObject) -> Key:
    return (obj.KIND, obj.metadata.namespace, obj.metadata.name)
