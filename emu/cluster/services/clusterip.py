"""Name: ClusterIP, the default type. One Frontend per port and family; a headless Service (`clusterIP: None`) has none:
its names resolve to the endpoints themselves.

Source: kubernetes pkg/proxy/servicechangetracker.go, endpointslicecache.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from emu.api.objects import Endpoint, EndpointConditions, EndpointSlice, Service, ServicePort
from emu.cluster.model import Backend, Frontend, IPAddress, Node

TYPE = "ClusterIP"


def frontends(service: Service, slices: Sequence[EndpointSlice], nodes: Sequence[Node]) -> Iterable[Frontend]:
    return tuple(
        _frontend(service, port, ip_address(text), slices)
        for text in service.spec.cluster_ips
        if text != "None"
        for port in service.spec.ports
    )


def _frontend(service: Service, port: ServicePort, address: IPAddress, slices: Sequence[EndpointSlice]) -> Frontend:
    return Frontend(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        port_name=port.name,
        protocol=port.protocol,
        port=port.port,
        cluster_ip=address,
        backends=backends(port, address.version, slices),
        internal_local=service.spec.internal_traffic_policy == "Local",
        affinity_s=affinity_s(service),
    )


def affinity_s(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    return config.client_ip.timeout_seconds if config else 10800


def backends(port: ServicePort, family: int, slices: Iterable[EndpointSlice]) -> tuple[Backend, ...]:
    """All endpoints of the port with their conditions, ready or not, ordered by `ip:port` as kube-proxy orders them.
    An address that stands in two slices counts once, a ready one first."""
    found: dict[str, Backend] = {}
    for backend in _all(port, f"IPv{family}", slices):
        if str(backend) not in found or backend.ready:
            found[str(backend)] = backend
    return tuple(found[text] for text in sorted(found))


def _all(port: ServicePort, address_type: str, slices: Iterable[EndpointSlice]) -> Iterator[Backend]:
    """A slice's port belongs to the Service's port of the same name and protocol: numbers play no part."""
    for piece in slices:
        if piece.address_type != address_type:
            continue
        for number in (p.port for p in piece.ports if (p.name, p.protocol) == (port.name, port.protocol)):
            yield from (_backend(endpoint, number) for endpoint in piece.endpoints)


def _backend(endpoint: Endpoint, number: int) -> Backend:
    ready, serving, terminating = meant(endpoint.conditions)
    return Backend(
        address=ip_address(endpoint.addresses[0]),
        port=number,
        node=endpoint.node_name,
        ready=ready,
        serving=serving,
        terminating=terminating,
    )


def meant(conditions: EndpointConditions) -> tuple[bool, bool, bool]:
    """(ready, serving, terminating): absent means ready, serving as ready, and not terminating (discovery/v1)."""
    ready = conditions.ready is not False
    return ready, ready if conditions.serving is None else conditions.serving, bool(conditions.terminating)
