"""What every cluster has before anyone applies anything: namespaces, Nodes, default/kubernetes, the cluster DNS.

Made when missing and otherwise left as they are, so that they can be edited and scaled like anything else.
Source: kubeadm's manifests (cmd/kubeadm/app/phases/addons/dns), the API server's endpoint reconciler.
"""

from __future__ import annotations

from emu.api.objects import (
    Condition,
    Container,
    ContainerPort,
    Deployment,
    DeploymentSpec,
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    HTTPGetAction,
    KubeObject,
    LabelSelector,
    Namespace,
    Node,
    NodeAddress,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
    ObjectMeta,
    Objects,
    PodSpec,
    PodTemplateSpec,
    Probe,
    Service,
    ServicePort,
    ServiceSpec,
    key_of,
)
from emu.api.topology import Topology
from emu.cluster import model, services
from emu.cluster.nodes import nodes, ranges
from emu.cluster.objectmap import SYSTEM_NAMESPACE, changed
from emu.cluster.podfiles import cluster_dns, has_cluster_dns
from emu.cluster.version import KUBERNETES_VERSION
from emu.memo import by_identity

NAMESPACES = ("default", SYSTEM_NAMESPACE, "kube-public", "kube-node-lease")
API_PORT = 6443
COREDNS_IMAGE = "registry.k8s.io/coredns/coredns:v1.11.1"  # kubeadm 1.30
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
DNS_LABELS = {"k8s-app": "kube-dns"}
SCRAPED = {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"}


def system(topology: Topology, objects: Objects, now: str) -> Objects:
    return changed(objects, (obj for obj in _wanted(topology, now) if key_of(obj) not in objects))


@by_identity
def _wanted(topology: Topology, now: str) -> tuple[KubeObject, ...]:
    return (
        *(Namespace(metadata=ObjectMeta(name=name)) for name in NAMESPACES),
        *(_node(node, now) for node in nodes(topology)),
        *_kubernetes(topology),
        *((_kube_dns(topology), _coredns(topology)) if has_cluster_dns(topology) else ()),
    )


def _node(node: model.Node, now: str) -> Node:
    internal = tuple(NodeAddress(type="InternalIP", address=str(address.ip)) for address in node.addresses)
    external = (NodeAddress(type="ExternalIP", address=str(node.public_address)),) if node.public_address else ()
    ready = Condition(
        type="Ready",
        status="True",
        reason="KubeletReady",
        message="kubelet is posting ready status",
        last_transition_time=now,
    )
    cidrs = tuple(str(cidr) for cidr in node.pod_cidrs)
    return Node(
        metadata=ObjectMeta(name=node.name, labels=node.labels),
        spec=NodeSpec(pod_cidr=next(iter(cidrs), ""), pod_cidrs=cidrs),
        status=NodeStatus(
            addresses=(*internal, *external, NodeAddress(type="Hostname", address=node.name)),
            conditions=(ready,),
            node_info=NodeSystemInfo(kubelet_version=KUBERNETES_VERSION),
        ),
    )


def _kubernetes(topology: Topology) -> tuple[KubeObject, ...]:
    """The API server writes its own Endpoints and slice, with no controller between; it runs on the first Node."""
    first = nodes(topology)[0].addresses[0].ip
    ports = (EndpointPort(name="https", port=API_PORT),)
    meta = ObjectMeta(namespace="default", name="kubernetes")
    return (
        Service(
            metadata=ObjectMeta(
                namespace="default",
                name="kubernetes",
                labels={"component": "apiserver", "provider": "kubernetes"},
            ),
            spec=ServiceSpec(
                cluster_ip=str(ranges(topology, "services")[0][1]),
                ports=(ServicePort(name="https", port=443, target_port=API_PORT),),
            ),
        ),
        Endpoints(
            metadata=ObjectMeta(namespace="default", name="kubernetes", labels={SKIP_MIRROR: "true"}),
            subsets=(EndpointSubset(addresses=(EndpointAddress(ip=str(first)),), ports=ports),),
        ),
        EndpointSlice(
            metadata=ObjectMeta(namespace="default", name="kubernetes", labels={services.SERVICE_NAME: meta.name}),
            address_type=f"IPv{first.version}",
            endpoints=(Endpoint(addresses=(str(first),), conditions=EndpointConditions(ready=True)),),
            ports=ports,
        ),
    )


def _kube_dns(topology: Topology) -> Service:
    labels = {"kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS", **DNS_LABELS}
    return Service(
        metadata=ObjectMeta(namespace=SYSTEM_NAMESPACE, name="kube-dns", labels=labels, annotations=SCRAPED),
        spec=ServiceSpec(
            selector=DNS_LABELS,
            cluster_ip=str(cluster_dns(topology)),
            ports=(
                ServicePort(name="dns", port=53, protocol="UDP", target_port=53),
                ServicePort(name="dns-tcp", port=53, target_port=53),
                ServicePort(name="metrics", port=9153, target_port=9153),
            ),
        ),
    )


def _coredns(topology: Topology) -> Deployment:
    """Without what Pods here do not have: affinity (they go to the Node with the fewest, so each to another),
    tolerations, resources, and the volume with the Corefile."""
    return Deployment(
        metadata=ObjectMeta(namespace=SYSTEM_NAMESPACE, name="coredns", labels=DNS_LABELS),
        spec=DeploymentSpec(
            replicas=topology.dns.replicas,
            selector=LabelSelector(match_labels=DNS_LABELS),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=DNS_LABELS),
                spec=PodSpec(
                    containers=(_coredns_container(),),
                    dns_policy="Default",
                    node_selector={"kubernetes.io/os": "linux"},
                    service_account_name="coredns",
                    priority_class_name="system-cluster-critical",
                ),
            ),
        ),
    )


def _coredns_container() -> Container:
    return Container(
        name="coredns",
        image=COREDNS_IMAGE,
        args=("-conf", "/etc/coredns/Corefile"),
        ports=(
            ContainerPort(name="dns", container_port=53, protocol="UDP"),
            ContainerPort(name="dns-tcp", container_port=53),
            ContainerPort(name="metrics", container_port=9153),
        ),
        liveness_probe=Probe(
            http_get=HTTPGetAction(path="/health", port=8080),
            initial_delay_seconds=60,
            timeout_seconds=5,
            failure_threshold=5,
        ),
        readiness_probe=Probe(http_get=HTTPGetAction(path="/ready", port=8181)),
    )
