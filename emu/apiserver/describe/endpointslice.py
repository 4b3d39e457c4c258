"""`describe endpointslice`."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import Endpoint, EndpointSlice, Objects
from emu.apiserver.describe.lines import NO_EVENTS, NONE, KindDescription, annotated, mapping


def lines(obj: EndpointSlice, objects: Objects) -> Iterator[str]:
    meta = obj.metadata
    yield f"Name:\t{meta.name}"
    yield f"Namespace:\t{meta.namespace}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    yield f"AddressType:\t{obj.address_type}"
    if obj.ports:
        yield "Ports:"
        yield "  Name\tPort\tProtocol"
        yield "  ----\t----\t--------"
        yield from (f"  {each.name or '<unset>'}\t{each.port}\t{each.protocol}" for each in obj.ports)
    else:
        yield "Ports: <unset>"
    if not obj.endpoints:
        yield "Endpoints: <none>"
    else:
        yield "Endpoints:"
    for endpoint in obj.endpoints:
        yield from _endpoint(endpoint)
    yield NO_EVENTS


def _endpoint(value: Endpoint) -> Iterator[str]:
    yield f"  - Addresses:\t{','.join(value.addresses) or NONE}"
    yield "    Conditions:"
    ready = value.conditions.ready
    yield f"      Ready:\t{'<unset>' if ready is None else str(ready).lower()}"
    yield f"    Hostname:\t{value.hostname or '<unset>'}"
    if (target := value.target_ref) is not None:
        yield f"    TargetRef:\t{target.kind}/{target.name}"
    yield f"    NodeName:\t{value.node_name or '<unset>'}"
    yield f"    Zone:\t{value.zone or '<unset>'}"


DESCRIPTION = KindDescription("EndpointSlice", lines)
