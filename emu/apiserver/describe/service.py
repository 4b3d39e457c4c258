"""`describe service`."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import EndpointSlice, Objects, Service
from emu.apiserver.describe.lines import NONE, KindDescription, annotated, mapping
from emu.apiserver.tables.endpoints import joined
from emu.apiserver.tables.table import labels

SERVICE_NAME = "kubernetes.io/service-name"
MOST = 3


def lines(obj: Service, objects: Objects) -> Iterator[str]:
    meta, spec = obj.metadata, obj.spec
    yield f"Name:\t{meta.name}"
    yield f"Namespace:\t{meta.namespace}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    yield f"Selector:\t{labels(spec.selector)}"
    yield f"Type:\t{spec.type}"
    if spec.ip_family_policy:
        yield f"IP Family Policy:\t{spec.ip_family_policy}"
    if spec.ip_families:
        yield f"IP Families:\t{','.join(spec.ip_families)}"
    yield f"IP:\t{spec.cluster_ip}"
    yield f"IPs:\t{','.join(spec.cluster_ips) or NONE}"
    for port in spec.ports:
        name = port.name or "<unset>"
        yield f"Port:\t{name}\t{port.port}/{port.protocol}"
        target = port.port if port.target_port is None else port.target_port
        yield f"TargetPort:\t{target}/{port.protocol}"
        yield f"Endpoints:\t{_endpoints(obj, objects, port.name)}"
    yield f"Session Affinity:\t{spec.session_affinity}"
    yield f"Internal Traffic Policy:\t{spec.internal_traffic_policy}"


def _endpoints(obj: Service, objects: Objects, port_name: str) -> str:
    """The ready addresses of a port, three at most; from the Service's slices."""
    found = [
        joined(endpoint.addresses[0], port.port)
        for each in _slices(obj, objects)
        for port in each.ports
        if port.name == port_name
        for endpoint in each.endpoints
        if endpoint.conditions.ready is not False
    ]
    more = f" + {len(found) - MOST} more..." if len(found) > MOST else ""
    return ",".join(found[:MOST]) + more


def _slices(obj: Service, objects: Objects) -> Iterator[EndpointSlice]:
    for each in objects.values():
        if (
            isinstance(each, EndpointSlice)
            and each.metadata.namespace == obj.metadata.namespace
            and each.metadata.labels.get(SERVICE_NAME) == obj.metadata.name
        ):
            yield each


DESCRIPTION = KindDescription("Service", lines)
