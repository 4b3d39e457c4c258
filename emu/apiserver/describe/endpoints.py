"""`describe endpoints`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emu.api.objects import EndpointAddress, Endpoints, Objects
from emu.apiserver.describe.lines import NO_EVENTS, NONE, KindDescription, annotated, mapping


def lines(obj: Endpoints, objects: Objects) -> Iterator[str]:
    meta = obj.metadata
    yield f"Name:\t{meta.name}"
    yield f"Namespace:\t{meta.namespace}"
    yield from mapping("Labels", meta.labels)
    yield from annotated(meta.annotations)
    yield "Subsets:"
    for subset in obj.subsets:
        yield f"  Addresses:\t{_joined(subset.addresses)}"
        yield f"  NotReadyAddresses:\t{_joined(subset.not_ready_addresses)}"
        if subset.ports:
            yield "  Ports:"
            yield "    Name\tPort\tProtocol"
            yield "    ----\t----\t--------"
            yield from (f"    {each.name or '<unset>'}\t{each.port}\t{each.protocol}" for each in subset.ports)
        yield ""
    yield NO_EVENTS


def _joined(found: Sequence[EndpointAddress]) -> str:
    return ",".join(each.ip for each in found) or NONE


DESCRIPTION = KindDescription("Endpoints", lines)
