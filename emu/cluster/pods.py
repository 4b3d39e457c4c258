"""Pod objects → `model.Pod`: the values the planners turn into namespaces, links, files and processes.

A status report of the kubelet makes a new Pod object but changes nothing here: results are remembered by the parts
they are made of, so such a Pod stays the same value and costs no plan difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from operator import attrgetter

from emu.api import conflist
from emu.api.images import Image, find, program_for
from emu.api.objects import (
    Container,
    DaemonSet,
    Deployment,
    KubeObject,
    ObjectMeta,
    Objects,
    PodIP,
    PodSpec,
    PodStatus,
    ReplicaSet,
)
from emu.api.objects import Pod as PodObject
from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster import environment, ipam, podfiles
from emu.cluster.model import Cluster, ContainerPlan, Pod
from emu.cluster.objectmap import of_kind, subject
from emu.cluster.passes.asked import ANNOTATION, asked_addresses
from emu.errors import InputError
from emu.memo import by_identity

Registry = Mapping[str, Image]


def joining(topology: Topology, objects: Objects, registry: Registry) -> tuple[Pod, ...]:
    """Every Pod that has a Node and waits for the addresses that somebody else decides; terminating ones too."""
    if ipam.of(topology).DECIDES:
        return ()
    found = [pod for pod in of_kind(objects, PodObject) if pod.status.host_ip and not pod.status.pod_ips]
    for pod in found:
        if asked_addresses(pod) and not conflist.capable(topology.cni.conflist, "ips"):
            what = f"annotation {ANNOTATION}: no plugin of the conflist has the capability ips, as host-local may have"
            raise InputError(what, subject=subject(pod))
    made = (_from_object(topology, registry, _NOTHING_SEEN, pod) for pod in found)
    return tuple(sorted(made, key=_NAMES))


_NOTHING_SEEN: Mapping[str, str] = {}
_NAMES = attrgetter("namespace", "name")


def pods(topology: Topology, objects: Objects, registry: Registry, previous: Cluster | None) -> tuple[Pod, ...]:
    """Every Pod that has a Node and its addresses, by namespace and name; terminating ones too, until they are gone.

    A Pod keeps the Service variables it started with: they are taken from `previous` while the Pod is the same."""
    started = {pod.uid: pod.service_env for pod in previous.pods} if previous else {}
    now_seen: dict[tuple[str, bool], Mapping[str, str]] = {}
    made = []
    for pod in of_kind(objects, PodObject):
        if not (pod.spec.node_name and pod.status.pod_ips):
            continue
        services = started.get(pod.metadata.uid)
        if services is None:
            wanted = (pod.metadata.namespace, pod.spec.enable_service_links)
            if wanted not in now_seen:
                now_seen[wanted] = environment.seen_by(objects, wanted[0], links=wanted[1])
            services = now_seen[wanted]
        made.append(_from_object(topology, registry, services, pod))
    return tuple(sorted(made, key=_NAMES))


@by_identity
def _from_object(topology: Topology, registry: Registry, services: Mapping[str, str], pod: PodObject) -> Pod:
    meta, status = pod.metadata, pod.status
    return _made(
        topology, registry, services, pod.spec, meta.namespace, meta.name, meta.uid, meta.labels, meta.annotations,
        status.pod_ips, status.pod_ip, status.host_ip,
    )  # fmt: skip


@by_identity
def _made(  # noqa: PLR0917 - one argument for each part it is remembered by
    topology: Topology, registry: Registry, services: Mapping[str, str], spec: PodSpec, namespace: str, name: str,
    uid: str, labels: Mapping[str, str], annotations: Mapping[str, str], pod_ips: tuple[PodIP, ...], pod_ip: str,
    host_ip: str,
) -> Pod:  # fmt: skip
    pod = PodObject(
        metadata=ObjectMeta(namespace=namespace, name=name, uid=uid, labels=labels, annotations=annotations),
        spec=spec,
        status=PodStatus(pod_ip=pod_ip, pod_ips=pod_ips, host_ip=host_ip),
    )
    host = podfiles.hostname(name, spec)
    environs = ({"HOME": "/root", "HOSTNAME": host}, services)
    try:
        return Pod(
            namespace=namespace,
            name=name,
            uid=uid,
            node=spec.node_name,
            addresses=tuple(ip_address(entry.ip) for entry in pod_ips),
            labels=labels,
            hostname=host,
            containers=tuple(_container(pod, container, registry, *environs) for container in spec.containers),
            init_containers=tuple(
                _container(pod, container, registry, *environs) for container in spec.init_containers
            ),
            restart_policy=spec.restart_policy,
            grace_period_s=spec.termination_grace_period_seconds,
            resolv_conf=podfiles.resolv_conf(spec, namespace, topology),
            hosts=podfiles.hosts(name, namespace, spec, (entry.ip for entry in pod_ips), topology.dns.domain),
            service_env=services,
            asked=asked_addresses(pod),
        )
    except InputError as error:
        raise _about(error, pod) from None


def _about(error: InputError, obj: KubeObject) -> InputError:
    named = subject(obj)
    about = error.subject if error.subject.startswith(named) else ": ".join(filter(None, (named, error.subject)))
    return InputError(error.what, place=error.place, subject=about, hint=error.hint)


def _image(container: Container, registry: Registry) -> Image:
    try:
        return find(container.image, registry)
    except Wrong as wrong:
        raise wrong.located(None, subject=f"container {container.name}") from None


def check_images(objects: Iterable[KubeObject], registry: Registry) -> None:
    """Raises InputError for an unknown image, also where there is no Pod yet: better now than at the next scaling."""
    for obj in objects:
        if isinstance(obj, Deployment | ReplicaSet | DaemonSet):
            _checked(registry, obj, obj.spec.template.spec)
        elif isinstance(obj, PodObject):
            _checked(registry, obj, obj.spec)


@by_identity
def _checked(registry: Registry, obj: KubeObject, spec: PodSpec) -> bool:
    try:
        for container in (*spec.init_containers, *spec.containers):
            _image(container, registry)
    except InputError as error:
        raise _about(error, obj) from None
    return True


def _container(
    pod: PodObject, container: Container, registry: Registry, base: Mapping[str, str], services: Mapping[str, str]
) -> ContainerPlan:
    """Of one name, the container's `env` wins over the Service variables, and these over the image's."""
    term = {"TERM": "xterm"} if container.tty else {}
    image = _image(container, registry)
    env = environment.of_container(pod, container, {"PATH": environment.PATH, **term, **image.env, **base}, services)
    if container.command or container.args:
        container = replace(
            container,
            command=tuple(environment.expanded(word, env) for word in container.command),
            args=tuple(environment.expanded(word, env) for word in container.args),
        )
    return ContainerPlan(container=container, program=program_for(container, registry), env=env)
