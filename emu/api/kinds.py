"""Which class a document is of, and what to say of a kind that is not built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from emu.api import codec
from emu.api.objects import KINDS
from emu.api.wrong import Wrong, did_you_mean, shown
from emu.errors import Place

BUILT: dict[str, Any] = {cls.KIND: cls for cls in cast(tuple[Any, ...], KINDS)}

#: Who may do what, and how many may fail at once: no packet goes another way for it.
IGNORED = frozenset(
    {
        "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "PodDisruptionBudget",
        "PriorityClass",
    }
)  # fmt: skip

NOT_BUILT = frozenset(
    {
        "StatefulSet", "Job", "CronJob", "ReplicationController", "ConfigMap", "Secret", "NetworkPolicy", "Ingress",
        "IngressClass", "PersistentVolume", "PersistentVolumeClaim", "StorageClass", "HorizontalPodAutoscaler",
        "ResourceQuota", "LimitRange", "Gateway", "GatewayClass", "HTTPRoute", "CustomResourceDefinition",
        "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "RuntimeClass", "Lease", "PodTemplate",
        "APIService", "ServiceCIDR", "IPAddress", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy",
    }
)  # fmt: skip


def is_list(node: Any) -> bool:
    """`kind: List`, or a list of one kind as the API gives it (`PodList`)."""
    kind = node.get("kind") if isinstance(node, dict) else None
    return isinstance(kind, str) and kind.endswith("List") and (kind == "List" or kind[:-4] in BUILT)


def items(node: dict[str, Any], file: str) -> Iterator[Any]:
    """The objects of a list. Those of a typed list may leave their kind out."""
    values = node.get("items") or []
    if not isinstance(values, list):
        raise Wrong("must be a list", "items").located(Place(file), node)
    kind = node["kind"][:-4]
    for value in values:
        if kind and isinstance(value, dict):
            value.setdefault("kind", kind)
            value.setdefault("apiVersion", BUILT[kind].API_VERSION)
        yield value


def class_of(node: Any, place: Place | None, ignored: set[str]) -> Any:
    """The class of a document; None, and a word in `ignored`, for a kind that means nothing here."""
    try:
        return _class_of(node, ignored)
    except Wrong as wrong:
        raise wrong.located(place, node, "" if wrong.sentence else codec.subject(node)) from None


def _class_of(node: Any, ignored: set[str]) -> Any:
    if not isinstance(node, dict):
        raise Wrong(f"a Kubernetes object is a mapping, this is {shown(node)}")
    kind = node.get("kind")
    for name in ("kind", "apiVersion"):
        if name not in node:
            raise Wrong("is missing", name, hint=_not_an_object(node))
    if not isinstance(kind, str):
        raise Wrong(f"is {shown(kind)}, must be a string", "kind")
    if kind in BUILT:
        return _checked(BUILT[kind], node["apiVersion"])
    if kind in IGNORED:
        ignored.add(kind)
        return None
    if kind in NOT_BUILT:
        raise Wrong(f"kind {kind} is not built yet", "kind", sentence=True)
    near = did_you_mean(kind, BUILT)
    raise Wrong(f"kind {kind} is not known{'; ' if near else ''}{near}", "kind", sentence=True, hint=_all_kinds())


def _checked(cls: Any, version: Any) -> Any:
    if version != cls.API_VERSION:
        raise Wrong(f"is {shown(version)}, must be {cls.API_VERSION}", "apiVersion")
    return cls


def _not_an_object(node: dict[str, Any]) -> str:
    return "this looks like a topology file" if "nodes" in node else ""


def _all_kinds() -> str:
    return f"there are {', '.join(sorted(BUILT))}"
