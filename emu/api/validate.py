"""Kubernetes' own rules for objects: what an API server would refuse.

What needs other objects (a clusterIP that is taken, a namespace that is not there) is `cluster.resolve`'s.
Source: kubernetes pkg/apis/{core,apps,discovery}/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emu.api import codec, podrules, rules, servicerules
from emu.api.objects import (
    CLUSTER_SCOPED,
    DaemonSet,
    Deployment,
    KubeObject,
    LabelSelector,
    ObjectMeta,
    Pod,
    PodTemplateSpec,
    ReplicaSet,
)
from emu.api.wrong import Wrong
from emu.errors import Place


def check(obj: KubeObject, place: Place | None = None, source: Any = None) -> None:
    """Raises InputError for the first rule broken. `source` is what was decoded, for the line."""
    try:
        _metadata(obj)
        if rule := RULES.get(obj.KIND):
            rule(obj)
    except Wrong as wrong:
        raise wrong.located(place, source, codec.title(obj)) from None


def _metadata(obj: KubeObject) -> None:
    meta = obj.metadata
    if not meta.name:
        hint = "generateName is for `create`; what is applied needs a name" if meta.generate_name else ""
        raise Wrong("is missing", "metadata", "name", hint=hint)
    rules_of_name = {"Service": rules.label_1035, "Namespace": rules.label}
    rules_of_name.get(obj.KIND, rules.subdomain)(meta.name, "metadata", "name")
    if obj.KIND in CLUSTER_SCOPED:
        if meta.namespace:
            raise Wrong(f"is {meta.namespace}, but a {obj.KIND} is in no namespace", "metadata", "namespace")
    elif meta.namespace:
        rules.label(meta.namespace, "metadata", "namespace")
    _keys(meta, "metadata")


def _keys(meta: ObjectMeta, *path: str) -> None:
    rules.labels(meta.labels, *path, "labels")
    for key in meta.annotations:
        rules.qualified(key.lower(), *path, "annotations", key)


def _selector(selector: LabelSelector, *path: str) -> None:
    rules.labels(selector.match_labels, *path, "matchLabels")
    for index, requirement in enumerate(selector.match_expressions):
        at: tuple[str | int, ...] = (*path, "matchExpressions", index)
        rules.qualified(requirement.key, *at, "key")
        rules.one_of(requirement.operator, ("In", "NotIn", "Exists", "DoesNotExist"), *at, "operator")
        if bool(requirement.values) != (requirement.operator in ("In", "NotIn")):
            wanted = "must be given" if not requirement.values else "must not be given"
            raise Wrong(f"{wanted} with operator {requirement.operator}", *at, "values")
        for number, value in enumerate(requirement.values):
            rules.label_value(value, *at, "values", number)


def _template(template: PodTemplateSpec, selector: LabelSelector) -> None:
    """Of what makes Pods: the selector finds the Pods it makes."""
    _selector(selector, "spec", "selector")
    if not (selector.match_labels or selector.match_expressions):
        raise Wrong("is empty, must select the Pods of the template", "spec", "selector")
    path = ("spec", "template")
    _keys(template.metadata, *path, "metadata")
    labels = template.metadata.labels
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            found = f"is {labels[key]}" if key in labels else "is missing"
            raise Wrong(f"{found}, must be {value} as spec.selector has it", *path, "metadata", "labels", key)
    for index, requirement in enumerate(selector.match_expressions):
        if not _meets(requirement.operator, requirement.values, labels.get(requirement.key)):
            what = "does not match the labels of spec.template"
            raise Wrong(what, "spec", "selector", "matchExpressions", index)
    podrules.ip_annotation(template.metadata.annotations, *path, "metadata", "annotations")
    podrules.pod_spec(template.spec, *path, "spec")
    if template.spec.restart_policy != "Always":
        raise Wrong(f"is {template.spec.restart_policy}, must be Always here", *path, "spec", "restartPolicy")


def _meets(operator: str, values: tuple[str, ...], value: str | None) -> bool:
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return (value is not None) == (operator == "Exists")


def _replicated(obj: Deployment | ReplicaSet) -> None:
    rules.at_least(obj.spec.replicas, 0, "spec", "replicas")
    _template(obj.spec.template, obj.spec.selector)


def _daemon_set(obj: DaemonSet) -> None:
    _template(obj.spec.template, obj.spec.selector)


def _pod(obj: Pod) -> None:
    podrules.ip_annotation(obj.metadata.annotations, "metadata", "annotations")
    podrules.pod_spec(obj.spec, "spec")


RULES: dict[str, Callable[[Any], None]] = {
    "Deployment": _replicated,
    "ReplicaSet": _replicated,
    "DaemonSet": _daemon_set,
    "Pod": _pod,
    "Service": servicerules.service,
    "Endpoints": servicerules.endpoints,
    "EndpointSlice": servicerules.endpoint_slice,
}
