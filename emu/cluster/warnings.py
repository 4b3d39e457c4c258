"""What is allowed and probably not meant, in a line each."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import DaemonSet, Deployment, Endpoints, Objects, Pod, ReplicaSet, Service
from emu.cluster import selected
from emu.cluster.lifecycle import is_active
from emu.cluster.objectmap import of_kind, subject
from emu.cluster.passes.endpoints import target_number
from emu.cluster.selectors import has_all


def warnings(objects: Objects) -> tuple[str, ...]:
    return (*_services(objects), *_endpoints(objects), *_pods(objects), *_shared_addresses(objects))


def _services(objects: Objects) -> Iterator[str]:
    pods_by = selected.of(objects).by
    for service in of_kind(objects, Service):
        if not service.spec.selector:
            continue
        pods = [pod for pod in pods_by(service.metadata.namespace, service.spec.selector) if is_active(pod)]
        if not pods and not _is_idle(service, objects):
            labels = ",".join(f"{key}={value}" for key, value in service.spec.selector.items())
            yield f"{subject(service)}: its selector {labels} matches no Pod in namespace {service.metadata.namespace}"
        for port in service.spec.ports if pods else ():
            if not any(target_number(port, pod) for pod in pods):
                yield f"{subject(service)}: no selected Pod has a {port.protocol} port named {port.target_port}"


def _is_idle(service: Service, objects: Objects) -> bool:
    """Whether something that is scaled to nothing would make Pods for it."""
    owners = (obj for obj in objects.values() if isinstance(obj, Deployment | ReplicaSet | DaemonSet))
    return any(
        owner.metadata.namespace == service.metadata.namespace
        and has_all(service.spec.selector or {}, owner.spec.template.metadata.labels)
        for owner in owners
    )


def _endpoints(objects: Objects) -> Iterator[str]:
    for obj in of_kind(objects, Endpoints):
        if ("Service", obj.metadata.namespace, obj.metadata.name) not in objects:
            yield f"{subject(obj)}: there is no Service of this name, nothing leads to these addresses"


def _pods(objects: Objects) -> Iterator[str]:
    for pod in of_kind(objects, Pod):
        if is_active(pod) and not pod.status.pod_ip:
            for condition in pod.status.conditions:
                if condition.status == "False" and condition.message:
                    yield f"{subject(pod)}: {condition.message}"


def _shared_addresses(objects: Objects) -> Iterator[str]:
    """Where every Node has the same range."""
    holders: dict[str, dict[str, Pod]] = {}
    for pod in of_kind(objects, Pod):
        for entry in pod.status.pod_ips:
            holders.setdefault(entry.ip, {}).setdefault(pod.spec.node_name, pod)
    shared = {address: pods for address, pods in holders.items() if len(pods) > 1}
    if shared:
        address, pods = next(iter(shared.items()))
        named = ", ".join(f"{subject(pod)} on {node}" for node, pod in sorted(pods.items())[:2])
        what = "address is" if len(shared) == 1 else "addresses are"
        yield f"{len(shared)} Pod {what} given on several Nodes, each of which reaches its own: {address} is {named}"
