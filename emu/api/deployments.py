"""Deployments, ReplicaSets and DaemonSets: what makes Pods. See `emu.api.objects`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from emu.api.meta import Condition, LabelSelector, ObjectMeta
from emu.api.pods import PodTemplateSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    replicas: int = 1
    selector: LabelSelector
    template: PodTemplateSpec
    IGNORED: ClassVar = frozenset({"strategy", "revisionHistoryLimit", "progressDeadlineSeconds", "minReadySeconds"})
    REFUSED: ClassVar = {"paused": "a change takes effect at once"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: tuple[Condition, ...] = ()
    IGNORED: ClassVar = frozenset({"collisionCount", "terminatingReplicas"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    API_VERSION: ClassVar = "apps/v1"
    KIND: ClassVar = "Deployment"
    metadata: ObjectMeta
    spec: DeploymentSpec
    status: DeploymentStatus = field(default_factory=DeploymentStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSetSpec:
    replicas: int = 1
    selector: LabelSelector
    template: PodTemplateSpec
    IGNORED: ClassVar = frozenset({"minReadySeconds"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSetStatus:
    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    fully_labeled_replicas: int = 0
    ALWAYS: ClassVar = frozenset({"replicas"})
    IGNORED: ClassVar = frozenset({"conditions", "terminatingReplicas"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSet:
    API_VERSION: ClassVar = "apps/v1"
    KIND: ClassVar = "ReplicaSet"
    metadata: ObjectMeta
    spec: ReplicaSetSpec
    status: ReplicaSetStatus = field(default_factory=ReplicaSetStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSetSpec:
    selector: LabelSelector
    template: PodTemplateSpec
    IGNORED: ClassVar = frozenset({"updateStrategy", "revisionHistoryLimit", "minReadySeconds"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSetStatus:
    observed_generation: int = 0
    current_number_scheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    number_available: int = 0
    number_misscheduled: int = 0
    updated_number_scheduled: int = 0
    ALWAYS: ClassVar = frozenset(
        {"currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"}
    )
    IGNORED: ClassVar = frozenset({"collisionCount", "conditions", "numberUnavailable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSet:
    API_VERSION: ClassVar = "apps/v1"
    KIND: ClassVar = "DaemonSet"
    metadata: ObjectMeta
    spec: DaemonSetSpec
    status: DaemonSetStatus = field(default_factory=DaemonSetStatus)
