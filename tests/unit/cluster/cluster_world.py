"""Small clusters as values: builders for objects, and what a kubelet would report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from emu.api import images
from emu.api.objects import (
    Condition,
    Container,
    ContainerPort,
    Deployment,
    DeploymentSpec,
    Key,
    KubeObject,
    LabelSelector,
    ObjectMeta,
    Objects,
    Pod,
    PodSpec,
    PodTemplateSpec,
    Service,
    ServicePort,
    ServiceSpec,
    key_of,
)
from emu.api.topology import Dns, NodeEntry, Topology
from emu.cluster.lifecycle import with_condition
from emu.cluster.model import Cluster
from emu.cluster.resolve import resolve

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def topology(count: int = 2, **fields: object) -> Topology:
    """node1, node2 … and no cluster DNS, so that the Pods of a test are its own."""
    nodes = tuple(NodeEntry(name=f"node{n}") for n in range(1, count + 1))
    return Topology(**{"name": "lab", "nodes": nodes, "dns": Dns(replicas=0), **fields})


@cache
def registry() -> object:
    return images.load_registry({})


def container(**fields: object) -> Container:
    ports = (ContainerPort(container_port=80, name="http"),)
    return Container(**{"name": "main", "image": "nginxdemos/hello", "ports": ports, **fields})


def pod(name: str, *, namespace: str = "default", labels: dict | None = None, ip: str = "", **spec: object) -> Pod:
    annotations = {"kube-emu.io/ip": ip} if ip else {}
    meta = ObjectMeta(name=name, namespace=namespace, labels=labels or {}, annotations=annotations)
    return Pod(metadata=meta, spec=PodSpec(**{"containers": (container(),), **spec}))


def template(labels: dict, **spec: object) -> PodTemplateSpec:
    return PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=PodSpec(**{"containers": (container(),), **spec}))


def deployment(name: str, replicas: int = 1, *, namespace: str = "default", **spec: object) -> Deployment:
    labels = {"app": name}
    selector = LabelSelector(match_labels=labels)
    return Deployment(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=DeploymentSpec(replicas=replicas, selector=selector, template=template(labels, **spec)),
    )


def service(name: str, *ports: ServicePort, namespace: str = "default", **spec: object) -> Service:
    defaults = {"ports": ports or (ServicePort(port=80),), "selector": {"app": name}}
    return Service(metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(**{**defaults, **spec}))


def objects(*objs: KubeObject) -> Objects:
    return {key_of(obj): obj for obj in objs}


def cluster(*objs: KubeObject, topo: Topology | None = None) -> Cluster:
    return resolve(topo or topology(), objects(*objs), registry(), NOW)


def again(
    before: Cluster, *puts: KubeObject, deletes: Iterable[Key] = (), now: str = LATER, running: bool = True
) -> Cluster:
    """The cluster after these writes, resolved with what was there before."""
    objs = {**before.objects, **objects(*puts)}
    for key in deletes:
        del objs[key]
    return resolve(before.topology, objs, registry(), now, previous=before if running else None)


def get(where: Cluster, kind: str, name: str, namespace: str = "default") -> KubeObject:
    return where.objects[kind, namespace, name]


def pods_of(where: Cluster, owner: str) -> list[Pod]:
    """Pod objects whose name starts with the owner's, in order of their creation."""
    return [obj for obj in where.objects.values() if isinstance(obj, Pod) and obj.metadata.name.startswith(f"{owner}-")]


def as_reported(obj: Pod, *, ready: bool = True, phase: str = "Running") -> Pod:
    """The Pod as its kubelet reports it."""
    condition = Condition(type="Ready", status=str(ready), last_transition_time=NOW)
    status = replace(obj.status, phase=phase, conditions=with_condition(obj.status.conditions, condition))
    return replace(obj, status=status)


def all_ready(where: Cluster) -> Cluster:
    """The cluster after every kubelet has reported its Pods ready and removed those that terminate, until all rests."""
    while True:
        ending = [key_of(obj) for obj in _pods(where) if obj.metadata.deletion_timestamp]
        waiting = [obj for obj in _pods(where) if not obj.metadata.deletion_timestamp and obj.status.phase == "Pending"]
        if not ending and not waiting:
            return where
        where = again(where, *map(as_reported, waiting), deletes=ending)


def _pods(where: Cluster) -> list[Pod]:
    return [obj for obj in where.objects.values() if isinstance(obj, Pod)]


def where_is(where: Cluster) -> dict[str, str]:
    """Name → Node and first address."""
    return {each.name: f"{each.node} {each.addresses[0]}" for each in where.pods}
