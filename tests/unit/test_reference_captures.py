"""Packets that were really captured, read without root: they make the path that was found when they were captured, and
it is one that the topology's files alone predict."""

from __future__ import annotations

import json
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from emu import planners
from emu.api import images, load
from emu.capture import pcapng
from emu.capture.decode import records
from emu.cluster.expected import expected
from emu.plan.model import Plan
from emu.report.json import plain
from emu.trace.compare import compare
from emu.trace.conntrack import Tuple
from emu.trace.correlate import correlate
from emu.trace.flooding import without_copies
from emu.trace.model import Flow
from emu.trace.model import Path as Way
from emu.trace.predict import predict

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("captures/reference/*/*/path.json"))
each_capture = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")


@cache
def _plan(topology: str) -> Plan:
    topo, loaded = load.testbed(ROOT / "topologies" / topology)
    return planners.build(expected(topo, loaded.objects, images.load_registry(topo.images), "2024-01-01T00:00:00Z"))


def _told(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "path.json").read_text())
    return told


def _flow(told: dict[str, Any]) -> Flow:
    return Flow(**{**told, "dst": ip_address(told["dst"])})


def _observed(folder: Path, flow: Flow) -> Way:
    """Conntrack is in no capture: what it had made of a Node's request is taken from the path that was found."""
    plan = _plan(folder.parent.name)
    taken, _ = without_copies(records(pcapng.read(folder / "all.pcapng").frames), plan)
    first = _told(folder)["observed"]["forward"]["hops"][0]["inner"]
    ends = (ip_address(first["src"]), ip_address(first["dst"]), first["proto"], first["sport"], first.get("dport", 0))
    return correlate(taken, flow, [Tuple(*ends)])


def _seen(value: Any) -> Any:
    """What the packets say. Why they went that way was read from the kernel; and the times are those of other sockets,
    which stamp the same packet up to a few µs apart."""
    if isinstance(value, dict):
        return {name: _seen(each) for name, each in value.items() if name not in ("causes", "origin", "time_ns")}
    return [_seen(each) for each in value] if isinstance(value, list) else value


def test_there_is_one_for_every_way_a_packet_can_go() -> None:
    names = {folder.name for folder in FOLDERS if folder.parent.name == "two-node-flannel-vxlan"}
    assert names >= {"pod-to-pod-same-node", "pod-to-pod-other-node", "pod-to-service", "node-to-service"}


@each_capture
def test_the_packets_make_the_path_that_was_found(folder: Path) -> None:
    told = _told(folder)
    flow = _flow(told["flow"])
    observed = _observed(folder, flow)
    assert _seen(plain(observed)) == _seen(told["observed"])


@each_capture
def test_the_topology_s_files_predict_that_path(folder: Path) -> None:
    told = _told(folder)
    asked = _flow(told["prediction"]["flow"])
    prediction = predict(_plan(folder.parent.name), asked)
    assert _seen(plain(prediction)) == _seen(told["prediction"])
    observed = _observed(folder, _flow(told["flow"]))
    assert compare(prediction, observed) == (told["matched"], None)


@each_capture
def test_they_are_small(folder: Path) -> None:
    assert all(file.stat().st_size < 100_000 for file in folder.iterdir())


def test_a_packet_that_went_another_way_is_not_taken_for_the_predicted_one() -> None:
    """The request to client2, held against the prediction of one to the web server beside it."""
    folder = ROOT / "captures/reference/two-node-flannel-vxlan/pod-to-pod-other-node"
    flow = _flow(_told(folder)["flow"])
    other = _flow(_told(folder.parent / "pod-to-pod-same-node")["prediction"]["flow"])
    prediction = predict(_plan(folder.parent.name), other)
    matched, difference = compare(prediction, _observed(folder, flow))
    assert matched is None
    assert difference is not None
    assert difference.what.startswith("forward hop 1: expected to leave default/client2")
