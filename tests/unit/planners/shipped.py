"""The shipped topologies, resolved and planned as `emu up` does before anything is started."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from emu import planners
from emu.api import images, load
from emu.api.objects import key_of
from emu.cluster import resolve
from emu.cluster.expected import expected
from emu.cluster.model import Cluster
from emu.plan.model import Plan

FOLDERS = Path(__file__).parents[3] / "topologies"


@cache
def cluster(folder: str) -> Cluster:
    topology, loaded = load.testbed(FOLDERS / folder)
    objects = {key_of(each): each for each in loaded.objects}
    return resolve.resolve(topology, objects, images.load_registry(topology.images), "2026-01-01T00:00:00Z")


@cache
def ready(folder: str) -> Cluster:
    """Once all Pods are ready, as `emu plan` shows it."""
    topology, loaded = load.testbed(FOLDERS / folder)
    return expected(topology, loaded.objects, images.load_registry(topology.images), "2026-01-01T00:00:00Z")


@cache
def plan(folder: str) -> Plan:
    return planners.build(cluster(folder))
