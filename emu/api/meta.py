"""What all kinds share: metadata, selectors, conditions. See `emu.api.objects`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

Labels = Mapping[str, str]
IntOrString = int | str


def json_name(name: str, **kwargs: Any) -> Any:
    """A field whose Kubernetes name is not the plain camelCase of its own."""
    return field(metadata={"json": name}, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerReference:
    api_version: str = ""
    kind: str
    name: str
    uid: str = ""
    controller: bool = True
    block_owner_deletion: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMeta:
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    IGNORED: ClassVar = frozenset({"managedFields", "selfLink", "finalizers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelectorRequirement:
    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    match_labels: Labels = field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    IGNORED: ClassVar = frozenset({"lastProbeTime", "observedGeneration"})
