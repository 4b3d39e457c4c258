"""What a manifest makes of an object that is already there: `apply`. What the cluster decided is kept (uid, status,
clusterIP, Node, its own annotations), what may not change is refused in Kubernetes' words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from emu.api import published
from emu.api.objects import (
    DaemonSet,
    Deployment,
    KubeObject,
    Namespace,
    Node,
    ObjectMeta,
    Pod,
    PodSpec,
    ReplicaSet,
    Service,
    ServiceSpec,
)
from emu.api.podrules import IP_ANNOTATION
from emu.cluster.objectmap import subject
from emu.errors import InputError

#: Annotations with these prefixes are written by the cluster itself; a manifest without them does not remove them.
OWN_ANNOTATIONS = (
    "kube-emu.io/", "deployment.kubernetes.io/", "endpoints.kubernetes.io/", "flannel.alpha.coreos.com/",
    "projectcalico.org/",
)  # fmt: skip
#: Those of them that a user writes.
ASKED = (IP_ANNOTATION, published.ANNOTATION)


def updated(existing: KubeObject | None, wanted: KubeObject) -> KubeObject:
    """`existing` itself when the manifest asks for nothing new. Raises InputError for an immutable field."""
    if existing is None:
        return wanted
    new = replace(wanted, metadata=_meta(existing, wanted.metadata))
    if hasattr(existing, "status"):
        new = replace(new, status=existing.status)  # type: ignore[arg-type]
    if hasattr(existing, "spec"):
        keep = _SPEC.get(type(existing), lambda existing, wanted: wanted.spec)
        new = replace(new, spec=keep(existing, wanted))
    return existing if new == existing else new


def _meta(existing: KubeObject, wanted: ObjectMeta) -> ObjectMeta:
    old = existing.metadata
    own = {name: text for name, text in old.annotations.items() if name.startswith(OWN_ANNOTATIONS)}
    labels = {**old.labels, **wanted.labels} if isinstance(existing, Namespace | Node) else wanted.labels
    kept = {name: text for name, text in own.items() if name not in ASKED}
    return replace(old, labels=labels, annotations={**kept, **wanted.annotations})


def _service(existing: Service, wanted: Service) -> ServiceSpec:
    old, new = existing.spec, wanted.spec
    if new.cluster_ip and old.cluster_ip and new.cluster_ip != old.cluster_ip:
        raise InputError(f"spec.clusterIP is {old.cluster_ip} and may not change once set", subject=subject(existing))
    return replace(
        new,
        cluster_ip=old.cluster_ip,
        cluster_ips=old.cluster_ips,
        ip_families=old.ip_families,
        ip_family_policy=old.ip_family_policy,
        ports=tuple(replace(port, target_port=port.target_port or port.port) for port in new.ports),
    )


def _pod(existing: Pod, wanted: Pod) -> PodSpec:
    old = existing.spec
    spec = replace(
        wanted.spec,
        node_name=wanted.spec.node_name or old.node_name,
        service_account_name=wanted.spec.service_account_name or old.service_account_name,
        priority=old.priority if wanted.spec.priority is None else wanted.spec.priority,
    )
    if _without_images(spec) != _without_images(old):
        what = "Pod updates may not change fields other than spec.containers[*].image"
        raise InputError(what, subject=subject(existing), hint="delete the Pod and apply it again")
    return spec


def _without_images(spec: PodSpec) -> PodSpec:
    def plain(containers: tuple) -> tuple:
        return tuple(replace(container, image="") for container in containers)

    return replace(spec, containers=plain(spec.containers), init_containers=plain(spec.init_containers))


def _selecting(existing: Deployment | ReplicaSet | DaemonSet, wanted: Any) -> Any:
    if existing.spec.selector != wanted.spec.selector:
        raise InputError("spec.selector: field is immutable", subject=subject(existing), hint="delete it first")
    return existing.spec if existing.spec == wanted.spec else wanted.spec


def _node(existing: Node, wanted: Node) -> Any:
    return replace(existing.spec, unschedulable=wanted.spec.unschedulable)


_SPEC: Mapping[type, Callable[[Any, Any], Any]] = {
    Service: _service,
    Pod: _pod,
    Deployment: _selecting,
    ReplicaSet: _selecting,
    DaemonSet: _selecting,
    Node: _node,
}
