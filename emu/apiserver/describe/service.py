"""`describe service`."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import Endpoints, Objects, Service
from emu.apiserver.describe.lines import NO_EVENTS, NONE, KindDescription, annotated, mapping
from emu.apiserver.tables.endpoints import joined
from emu.apiserver.tables.table import labels

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
        yield f"Endpoints:\t{_addresses(obj, objects, port.name)}"
    yield f"Session Affinity:\t{spec.session_affinity}"
    yield NO_EVENTS


def _addresses(obj: Service, objects: Objects, port_name: str) -> str:
    """Those of the Service's Endpoints for a port, three at most."""
    endpoints = objects.get((Endpoints.KIND, obj.metadata.namespace, obj.metadata.name))
    if not isinstance(endpoints, Endpoints) or not endpoints.subsets:
        return NONE
    found = [
        joined(address.ip, port.port)
        for subset in endpoints.subsets
        for port in subset.ports
        if port.name == port_name
        for address in subset.addresses
    ]
    more = f" + {len(found) - MOST} more..." if len(found) > MOST else ""
    return ",".join(found[:MOST]) + more


DESCRIPTION = KindDescription("Service", lines)
