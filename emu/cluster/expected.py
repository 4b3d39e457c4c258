"""The cluster as it will be once every Pod is ready: what a plan made without a running testbed is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from emu.api.images import Image
from emu.api.objects import Condition, Key, KubeObject, Pod, PodStatus, key_of
from emu.api.topology import Topology
from emu.cluster import report
from emu.cluster.model import Cluster
from emu.cluster.resolve import resolve
from emu.errors import Place


def expected(
    topology: Topology,
    objects: Iterable[KubeObject],
    registry: Mapping[str, Image],
    now: str,
    places: Mapping[Key, Place] | None = None,
) -> Cluster:
    """With `places` (of `load.Loaded`) an InputError names file and line."""
    first = resolve(topology, {key_of(each): each for each in objects}, registry, now, places=places)
    ready = {key: _ready(obj, now) for key, obj in first.objects.items()}
    return resolve(topology, ready, registry, now, previous=first)


def _ready(obj: KubeObject, now: str) -> KubeObject:
    """Placed Pods only: a Pod that no Node takes stays as it is."""
    if not isinstance(obj, Pod) or not obj.status.pod_ip:
        return obj
    made = (Condition(type=name, status="True", last_transition_time=now) for name in ("Ready", "ContainersReady"))
    return replace(obj, status=report.reported(obj.status, PodStatus(phase="Running", conditions=tuple(made))))
