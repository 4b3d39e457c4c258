"""Cluster → the zone that cluster DNS serves: Services, endpoints from EndpointSlices, namespaces, Pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from emu.api.objects import EndpointSlice, Namespace, ObjectMeta, Service
from emu.cluster.model import Cluster
from emu.cluster.podfiles import resolver
from emu.cluster.services import SERVICE_NAME
from emu.memo import by_identity
from emu.plan.dns import DnsEndpoint, DnsPort, DnsService, DnsZone
from emu.planners import cni

CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"


def zone(cluster: Cluster) -> DnsZone:
    """Equal clusters give equal zones. Without an upstream the reverse zones of the cluster's ranges end here
    (NXDOMAIN); with one they fall through to it, as in kubeadm's Corefile."""
    dns = cluster.topology.dns
    services = [each for each in cluster.objects.values() if isinstance(each, Service)]
    slices = [each for each in cluster.objects.values() if isinstance(each, EndpointSlice)]
    ranges = (*cluster.service_ranges, *cluster.pod_ranges, *cluster.node_ranges)
    return DnsZone(
        domain=dns.domain,
        ttl=dns.ttl,
        pods_mode=dns.pods,
        serial=_serial([each.metadata for each in services] + [each.metadata for each in slices]),
        namespaces=tuple(
            sorted(each.metadata.name for each in cluster.objects.values() if isinstance(each, Namespace))
        ),
        services=_services(services, slices),
        pods=_verified(cluster) if dns.pods == "verified" else (),
        upstream=dns.upstream,
        cluster_networks=() if dns.upstream else tuple(map(str, ranges)),
        embedded=tuple(_embedded(cluster, services, slices)) if resolver(cluster.topology) else (),
    )


def _embedded(
    cluster: Cluster, services: Sequence[Service], slices: Sequence[EndpointSlice]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """As Docker knows them: a container by its name; a service by tasks.NAME, for which its containers' addresses
    stand, and by its name: for its virtual address, or with endpoint mode dnsrr for the same as tasks.NAME. Outside
    namespace default it is of a stack: `STACK_NAME`."""
    virtual = cni.vips(cluster)
    there = {address for pod in cluster.pods for address in map(str, pod.addresses)}
    for service in _services(services, slices):
        name = _in_stack(service.namespace, service.name)
        addresses = tuple(each.address for each in service.endpoints if each.address in there)
        if addresses:
            vip = virtual.get((service.namespace, service.name))
            yield name, (str(vip),) if vip else addresses
            yield f"tasks.{name}", addresses
    for pod in cluster.pods:
        yield _in_stack(pod.namespace, pod.name), tuple(map(str, pod.addresses))


def _in_stack(namespace: str, name: str) -> str:
    return name if namespace == "default" else f"{namespace}_{name}"


def _services(services: Iterable[Service], slices: Iterable[EndpointSlice]) -> tuple[DnsService, ...]:
    behind: dict[tuple[str, str], list[EndpointSlice]] = {}
    for each in slices:
        behind.setdefault((each.metadata.namespace, each.metadata.labels.get(SERVICE_NAME, "")), []).append(each)
    found = (_service(each, *behind.get((each.metadata.namespace, each.metadata.name), ())) for each in services)
    return tuple(sorted(found, key=lambda service: (service.namespace, service.name)))


@by_identity
def _service(service: Service, *slices: EndpointSlice) -> DnsService:
    spec = service.spec
    addresses = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    return DnsService(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        cluster_ips=() if "None" in addresses else tuple(addresses),
        ports=tuple(DnsPort(name=port.name, protocol=port.protocol, port=port.port) for port in spec.ports),
        endpoints=tuple(endpoint for each in sorted(slices, key=_slice_name) for endpoint in _endpoints(each)),
    )


def _slice_name(each: EndpointSlice) -> str:
    return each.metadata.name


def _endpoints(each: EndpointSlice) -> Iterator[DnsEndpoint]:
    """The ready ones: an unknown readiness counts as ready, as the EndpointSlice API says."""
    ports = tuple(DnsPort(name=port.name, protocol=port.protocol, port=port.port) for port in each.ports)
    for endpoint in each.endpoints:
        if endpoint.conditions.ready is not False:
            for address in endpoint.addresses:
                yield DnsEndpoint(address=address, hostname=endpoint.hostname, ports=ports)


def _verified(cluster: Cluster) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((pod.namespace, str(address)) for pod in cluster.pods for address in pod.addresses))


def _serial(metadata: Iterable[ObjectMeta]) -> int:
    """The Unix time of the newest change that the objects tell of: CoreDNS's serial is the time of its last change."""
    stamps = (stamp for meta in metadata for stamp in (meta.creation_timestamp, _changed_at(meta.annotations)))
    return max((int(datetime.fromisoformat(stamp).timestamp()) for stamp in stamps if stamp), default=1)


def _changed_at(annotations: Mapping[str, str]) -> str:
    return annotations.get(CHANGED_AT, "")
