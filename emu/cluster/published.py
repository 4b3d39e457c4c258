"""Ports of every Node that lead to a Service: whether the CNI mode can do it, and whether two Services ask for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.api import published
from emu.api.cnimodes import CNI_MODES, publishes
from emu.api.objects import KubeObject, Objects, Service
from emu.api.published import ANNOTATION
from emu.api.topology import Topology
from emu.cluster.model import Published
from emu.cluster.objectmap import of_kind, subject
from emu.errors import InputError


def of(objects: Objects) -> tuple[Published, ...]:
    found = sorted(_asking(of_kind(objects, Service)), key=lambda each: (each.metadata.namespace, each.metadata.name))
    return tuple(map(_published, found))


def _asking(services: Iterable[Service]) -> Iterator[Service]:
    return (each for each in services if ANNOTATION in each.metadata.annotations)


def _published(service: Service) -> Published:
    meta = service.metadata
    return Published(namespace=meta.namespace, service=meta.name, ports=published.ports(meta.annotations))


def check(topology: Topology, objects: Objects, unseen: Iterable[KubeObject]) -> None:
    """Raises InputError for a port that would lead nowhere, and for one that leads to another Service."""
    new = list(_asking(each for each in unseen if isinstance(each, Service)))
    if new and not publishes(topology.cni):
        what = f"annotation {ANNOTATION}: with {_chosen(topology)} no port of a Node leads to a Service"
        raise InputError(what, subject=subject(new[0]), hint=f"leave it out, or use {_able()}")
    for service in new:
        _checked(service, objects)


def _checked(service: Service, objects: Objects) -> None:
    """In the words of swarmkit's checkPortConflicts."""
    wanted = {each[:2]: each for each in published.ports(service.metadata.annotations)}
    for other in _asking(of_kind(objects, Service)):
        if subject(other) == subject(service):
            continue
        for port in published.ports(other.metadata.annotations):
            if port[:2] in wanted:
                what = f"annotation {ANNOTATION}: port {port} is already in use by {subject(other)} as an ingress port"
                raise InputError(what, subject=subject(service))


def _chosen(topology: Topology) -> str:
    mode, options = topology.cni.mode, topology.cni.options
    with_option = next((each.publishes for each in CNI_MODES if each.name == mode), None)
    if with_option is None:
        return f"cni {mode}"
    return f"cni {mode} and {with_option[0]} {options.get(with_option[0], 'not set')}"


def _able() -> str:
    able = ((mode.name, *mode.publishes) for mode in CNI_MODES if mode.publishes)
    return " or ".join(f"cni: {{mode: {name}, options: {{{key}: {value}}}}}" for name, key, value in able)
