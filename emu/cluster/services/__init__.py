"""Services → Frontends. A Service type is one file here and one name in `TYPES`; proxies see Frontends only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType

from emu.api.objects import EndpointSlice, Objects, Service
from emu.cluster.model import Frontend, Node
from emu.cluster.objectmap import of_kind
from emu.cluster.services import clusterip
from emu.memo import by_identity

#: Each has TYPE (the Service's `spec.type`) and frontends(service, slices, nodes).
TYPES: tuple[ModuleType, ...] = (clusterip,)

SERVICE_NAME = "kubernetes.io/service-name"

_BY_TYPE: Mapping[str, ModuleType] = {module.TYPE: module for module in TYPES}


def frontends(objects: Objects, nodes: tuple[Node, ...]) -> tuple[Frontend, ...]:
    """By namespace and Service. A Frontend stays the same object as long as its Service and slices do."""
    slices = slices_by_service(objects)
    services = sorted(
        of_kind(objects, Service), key=lambda service: (service.metadata.namespace, service.metadata.name)
    )
    return tuple(
        frontend
        for service in services
        for frontend in _of_service(
            nodes, service, *slices.get((service.metadata.namespace, service.metadata.name), ())
        )
    )


@by_identity
def _of_service(nodes: tuple[Node, ...], service: Service, *slices: EndpointSlice) -> Iterable[Frontend]:
    return _BY_TYPE[service.spec.type].frontends(service, slices, nodes)


def slices_by_service(objects: Objects) -> Mapping[tuple[str, str], list[EndpointSlice]]:
    """EndpointSlices by (namespace, Service) of their label, in order of their names."""
    found: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in sorted(of_kind(objects, EndpointSlice), key=lambda piece: piece.metadata.name):
        if name := piece.metadata.labels.get(SERVICE_NAME):
            found.setdefault((piece.metadata.namespace, name), []).append(piece)
    return found
