"""Services with a selector → Endpoints and EndpointSlices, made from the Pods as the two controllers make them.

An Endpoints object has the ready and the not ready addresses of Pods that are not terminating; slices have every Pod
with its conditions, terminating ones too. Pods for which a named targetPort means another number stand in another
subset and another slice. Source: kubernetes pkg/controller/endpoint, pkg/controller/endpointslice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from emu.api.objects import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    Key,
    KubeObject,
    ObjectMeta,
    ObjectReference,
    Objects,
    OwnerReference,
    Pod,
    Service,
    ServicePort,
    key_of,
)
from emu.api.topology import Topology
from emu.cluster import selected
from emu.cluster.lifecycle import is_finished, is_ready, is_terminating
from emu.cluster.objectmap import changed, of_kind
from emu.cluster.passes import slicing
from emu.cluster.passes.stamp import stamped
from emu.cluster.services import SERVICE_NAME, slices_by_service
from emu.memo import by_identity

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
HEADLESS_LABEL = "service.kubernetes.io/headless"
MANAGED_BY = "endpointslice-controller.k8s.io"
MAX_ADDRESSES = 1000
ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a Service's Pods make: the subsets, and the endpoints of each (address type, ports)."""

    subsets: tuple[EndpointSubset, ...]
    truncated: bool
    groups: slicing.Groups


def endpoints(topology: Topology, objects: Objects, now: str) -> Objects:
    pods_by = selected.of(objects).by
    slices = slices_by_service(objects)
    zones = _zones(topology)
    puts: list[KubeObject] = []
    deletes: list[Key] = list(_abandoned(objects))
    for service in of_kind(objects, Service):
        meta = service.metadata
        if not service.spec.selector or not service.spec.cluster_ips:
            continue
        existing = objects.get(("Endpoints", meta.namespace, meta.name))
        pieces = slices.get((meta.namespace, meta.name), ())
        pods = pods_by(meta.namespace, service.spec.selector)
        if _is_settled(service, zones, existing, *pieces, *pods):
            continue
        wanted = _wanted(service, zones, *pods)
        puts.append(_endpoints(topology.seed, service, wanted, existing, now))
        fitted = slicing.fitted(
            pieces,
            wanted.groups,
            _slice_meta(service),
            seed=topology.seed,
            objects=objects,
            now=now,
        )
        puts += fitted.puts
        deletes += fitted.deletes
    return changed(objects, puts, deletes)


@by_identity
def _zones(topology: Topology) -> Mapping[str, str]:
    return {node.name: node.labels.get(ZONE, "") for node in topology.nodes}


def _abandoned(objects: Objects) -> Iterable[Key]:
    """Endpoints made here whose Service is gone; the slices belong to the Service and are collected."""
    for obj in of_kind(objects, Endpoints):
        meta = obj.metadata
        if TRIGGER_TIME in meta.annotations and ("Service", meta.namespace, meta.name) not in objects:
            yield key_of(obj)


@by_identity
def _is_settled(
    service: Service, zones: Mapping[str, str], existing: KubeObject | None, *parts: EndpointSlice | Pod
) -> bool:
    """Whether its Endpoints and slices are what its Pods make."""
    pods = [each for each in parts if isinstance(each, Pod)]
    pieces = [each for each in parts if isinstance(each, EndpointSlice)]
    wanted = _wanted(service, zones, *pods)
    if _endpoints(0, service, wanted, existing, "") is not existing:
        return False
    fitted = slicing.fitted(pieces, wanted.groups, _slice_meta(service), seed=0, objects={}, now="")
    return not fitted.deletes and set(map(id, fitted.puts)) <= set(map(id, pieces))


@by_identity
def _wanted(service: Service, zones: Mapping[str, str], *pods: Pod) -> Wanted:
    counted = [pod for pod in pods if pod.status.pod_ip and not is_finished(pod)]
    by_ports: dict[tuple[EndpointPort, ...], list[Pod]] = {}
    for pod in counted:
        by_ports.setdefault(_ports(service, pod), []).append(pod)
    groups = {
        (family, ports): tuple(
            _endpoint(service, zones.get(pod.spec.node_name, ""), pod, ip) for pod in some for ip in _ips(pod, family)
        )
        for family in service.spec.ip_families
        for ports, some in by_ports.items()
    }
    headless_without_ports = not service.spec.ports
    subsets = tuple(
        subset
        for ports, some in sorted(by_ports.items(), key=lambda item: [port.port for port in item[0]])
        if ports or headless_without_ports
        for subset in _subset(service, ports, some)
    )
    return Wanted(
        subsets=subsets,
        truncated=len(counted) > MAX_ADDRESSES,
        groups=groups or {(family, ()): () for family in service.spec.ip_families},
    )


def _ips(pod: Pod, address_type: str) -> list[str]:
    return [entry.ip for entry in pod.status.pod_ips if (":" in entry.ip) == (address_type == "IPv6")]


def _ports(service: Service, pod: Pod) -> tuple[EndpointPort, ...]:
    """A port that the Pod has no number for is left out."""
    numbered = ((port, target_number(port, pod)) for port in service.spec.ports)
    return tuple(
        EndpointPort(port=number, name=port.name, protocol=port.protocol, app_protocol=port.app_protocol)
        for port, number in numbered
        if number
    )


def target_number(port: ServicePort, pod: Pod) -> int:
    """The container port behind a Service port; 0 if no container has the name with that protocol."""
    target = port.target_port or port.port
    if isinstance(target, int):
        return target
    for container in pod.spec.containers:
        for own in container.ports:
            if (own.name, own.protocol) == (target, port.protocol):
                return own.container_port
    return 0


def _subset(service: Service, ports: tuple[EndpointPort, ...], pods: Sequence[Pod]) -> Iterable[EndpointSubset]:
    publish = service.spec.publish_not_ready_addresses
    shown = [pod for pod in pods if (publish or not is_terminating(pod)) and _ips(pod, service.spec.ip_families[0])]
    ready = [pod for pod in shown if publish or is_ready(pod)]
    others = [pod for pod in shown if not (publish or is_ready(pod))]
    if shown:
        yield EndpointSubset(
            addresses=_endpoint_addresses(service, ready[:MAX_ADDRESSES]),
            not_ready_addresses=_endpoint_addresses(service, others[: max(0, MAX_ADDRESSES - len(ready))]),
            ports=ports,
        )


def _endpoint_addresses(service: Service, pods: Iterable[Pod]) -> tuple[EndpointAddress, ...]:
    """In the order of their text, as the controller sorts them."""
    found = (
        EndpointAddress(
            ip=_ips(pod, service.spec.ip_families[0])[0],
            hostname=_hostname(service, pod),
            node_name=pod.spec.node_name,
            target_ref=_reference(pod),
        )
        for pod in pods
    )
    return tuple(sorted(found, key=lambda address: address.ip))


def _hostname(service: Service, pod: Pod) -> str:
    return pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""


@by_identity
def _reference(pod: Pod) -> ObjectReference:
    meta = pod.metadata
    return ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid)


@by_identity
def _endpoint(service: Service, zone: str, pod: Pod, ip: str) -> Endpoint:
    """`ready` is never true of a terminating Pod, unless the Service publishes what is not ready."""
    serving, terminating = is_ready(pod), is_terminating(pod)
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    return Endpoint(
        addresses=(ip,),
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=_hostname(service, pod),
        node_name=pod.spec.node_name,
        zone=zone,
        target_ref=_reference(pod),
    )


def _labels(service: Service) -> dict[str, str]:
    headless = {HEADLESS_LABEL: ""} if service.spec.cluster_ip == "None" else {}
    return {**service.metadata.labels, **headless}


def _endpoints(seed: int, service: Service, wanted: Wanted, existing: KubeObject | None, now: str) -> Endpoints:
    """The existing object when nothing has changed; the trigger time is that of the last change."""
    labels = _labels(service)
    full = wanted.truncated
    notes = {TRIGGER_TIME: now, **({OVER_CAPACITY: "truncated"} if full else {})}
    if not isinstance(existing, Endpoints):
        meta = ObjectMeta(
            namespace=service.metadata.namespace, name=service.metadata.name, labels=labels, annotations=notes
        )
        return stamped(seed, Endpoints(metadata=meta, subsets=wanted.subsets), now)
    if existing.subsets == wanted.subsets and existing.metadata.labels == labels:
        return existing
    meta = replace(existing.metadata, labels=labels, annotations={**existing.metadata.annotations, **notes})
    return replace(existing, metadata=meta, subsets=wanted.subsets)


def _slice_meta(service: Service) -> ObjectMeta:
    meta = service.metadata
    owner = OwnerReference(api_version="v1", kind="Service", name=meta.name, uid=meta.uid)
    labels = {**_labels(service), SERVICE_NAME: meta.name, slicing.MANAGED_BY_LABEL: MANAGED_BY}
    return ObjectMeta(namespace=meta.namespace, generate_name=f"{meta.name}-", labels=labels, owner_references=(owner,))
