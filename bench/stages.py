"""The pure stages, files → changes, timed one by one; and the plan that other parts measure with.

As a program (nothing is remembered yet) it prints the times: `python -m bench.stages`."""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bench import world
from emu import planners
from emu.api import images, load
from emu.api.objects import Condition, KubeObject, Objects, Pod, key_of
from emu.cluster import resolve
from emu.cluster.model import Cluster
from emu.netfilter import text
from emu.plan import diff
from emu.plan.model import Plan

T = TypeVar("T")
Times = dict[str, float]


class Stages:
    """Each stage's time in `times`, in seconds, by name."""

    def __init__(self) -> None:
        self.times: Times = {}
        with tempfile.TemporaryDirectory() as directory:
            world.write(Path(directory))
            self.topology, loaded = self._timed("load", lambda: load.testbed(Path(directory)))
        self.registry = images.load_registry(self.topology.images)
        first = self._through("", {key_of(each): each for each in loaded.objects}, None, None)
        ready = {key: with_ready(each, True) for key, each in first[0].objects.items()}
        self.cluster, self.plan = self._through(" when all Pods are ready", ready, *first)
        self._timed("rules' text", lambda: [rules(self.plan, name) for name in node_names(self.plan)])
        changed = flipped(self.cluster.objects, some_pod(self.cluster))
        gc.collect()
        self._through(" of one endpoint", changed, self.cluster, self.plan)

    def _through(self, suffix: str, objects: Objects, before: Cluster | None, old: Plan | None) -> tuple[Cluster, Plan]:
        cluster = self._timed(
            f"resolve{suffix}",
            lambda: resolve.resolve(self.topology, objects, self.registry, world.NOW, previous=before),
        )
        plan = self._timed(f"build{suffix}", lambda: planners.build(cluster))
        self._timed(f"diff{suffix}", lambda: diff.diff(old, plan))
        return cluster, plan

    def _timed(self, what: str, stage: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = stage()
        self.times[what] = time.perf_counter() - start
        return result


def rules(plan: Plan, node: str) -> str:
    """What `iptables-restore` is given for a Node."""
    return "".join(text.restore(table) for table in plan.netns[node].tables)


def node_names(plan: Plan) -> list[str]:
    return [name for name, space in plan.netns.items() if space.tables]


def without_rules(plan: Plan) -> Plan:
    return replace(plan, netns={name: replace(space, tables=()) for name, space in plan.netns.items()})


def some_pod(cluster: Cluster) -> str:
    return next(pod.name for pod in cluster.pods if pod.name.startswith("app-5-"))


def flipped(objects: Objects, name: str) -> dict[tuple[str, str, str], KubeObject]:
    """The same, but that Pod is not ready any more."""
    key = ("Pod", "default", name)
    return {**objects, key: with_ready(objects[key], False)}


def is_ready(pod: Pod) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions)


def with_ready(obj: KubeObject, ready: bool) -> KubeObject:
    if not isinstance(obj, Pod):
        return obj
    others = tuple(condition for condition in obj.status.conditions if condition.type != "Ready")
    conditions = (*others, Condition(type="Ready", status=str(ready), last_transition_time=world.NOW))
    return replace(obj, status=replace(obj.status, phase="Running", conditions=conditions))


if __name__ == "__main__":
    print(json.dumps(Stages().times))
