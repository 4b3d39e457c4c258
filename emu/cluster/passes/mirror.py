"""Hand-made Endpoints of a Service without selector → EndpointSlices, as the mirroring controller makes them: proxies
and DNS read slices only. Hand-made slices need nothing.
Source: kubernetes pkg/controller/endpointslicemirroring."""

from __future__ import annotations

from dataclasses import replace

from emu.api.objects import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    Key,
    KubeObject,
    ObjectMeta,
    Objects,
    OwnerReference,
    Service,
)
from emu.api.topology import Topology
from emu.cluster.objectmap import changed, of_kind
from emu.cluster.passes import slicing
from emu.cluster.passes.endpoints import TRIGGER_TIME
from emu.cluster.passes.system import SKIP_MIRROR
from emu.cluster.services import SERVICE_NAME, slices_by_service
from emu.memo import by_identity

MANAGED_BY = "endpointslicemirroring-controller.k8s.io"
MAX_PER_SUBSET = 1000
NOT_COPIED = frozenset({TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"})


def mirror(topology: Topology, objects: Objects, now: str) -> Objects:
    puts: list[KubeObject] = []
    deletes: list[Key] = []
    sources = [source for source in of_kind(objects, Endpoints) if is_mirrored(source, objects)]
    slices = slices_by_service(objects) if sources else {}
    for source in sources:
        meta = source.metadata
        fitted = slicing.fitted(
            slices.get((meta.namespace, meta.name), ()),
            _groups(source),
            _slice_meta(source),
            seed=topology.seed,
            objects=objects,
            now=now,
        )
        puts += fitted.puts
        deletes += fitted.deletes
    return changed(objects, puts, [*deletes, *_unwanted(objects)])


def is_mirrored(source: Endpoints, objects: Objects) -> bool:
    meta = source.metadata
    service = objects.get(("Service", meta.namespace, meta.name))
    return isinstance(service, Service) and not service.spec.selector and meta.labels.get(SKIP_MIRROR) != "true"


def _unwanted(objects: Objects) -> list[Key]:
    """Mirrors of what is no longer mirrored; those of deleted Endpoints are collected with their owner."""
    return [
        key
        for key, piece in objects.items()
        if isinstance(piece, EndpointSlice)
        and piece.metadata.labels.get(slicing.MANAGED_BY_LABEL) == MANAGED_BY
        and isinstance(source := objects.get(("Endpoints", key[1], piece.metadata.labels[SERVICE_NAME])), Endpoints)
        and not is_mirrored(source, objects)
    ]


@by_identity
def _groups(source: Endpoints) -> slicing.Groups:
    groups: dict[tuple[str, tuple[EndpointPort, ...]], list[Endpoint]] = {}
    for subset in source.subsets:
        both = [(address, True) for address in subset.addresses]
        both += [(address, False) for address in subset.not_ready_addresses]
        for address, ready in both[:MAX_PER_SUBSET]:
            family = "IPv6" if ":" in address.ip else "IPv4"
            groups.setdefault((family, subset.ports), []).append(_endpoint(address, ready=ready))
    return {key: tuple(endpoints) for key, endpoints in groups.items()}


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )


def _slice_meta(source: Endpoints) -> ObjectMeta:
    meta = source.metadata
    return replace(
        ObjectMeta(namespace=meta.namespace, generate_name=f"{meta.name}-"),
        labels={**meta.labels, SERVICE_NAME: meta.name, slicing.MANAGED_BY_LABEL: MANAGED_BY},
        annotations={name: text for name, text in meta.annotations.items() if name not in NOT_COPIED},
        owner_references=(OwnerReference(api_version="v1", kind="Endpoints", name=meta.name, uid=meta.uid),),
    )
