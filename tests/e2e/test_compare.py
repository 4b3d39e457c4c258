"""The modes side by side, in running labs: what is told of each is what its network does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own, where nothing is left."""
    monkeypatch.setenv("EMU_RUNTIME_DIR", str(tmp_path / "run"))
    yield tmp_path
    assert not list((tmp_path / "run").iterdir())


def compared(*arguments: object, directory: Path, status: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "emu.main", "compare", "-o", "json", "--output", str(directory / "kept")]
    ran = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return {each["mode"]: each for each in json.loads(ran.stdout)["modes"]}


def test_a_tunnel_and_a_route_are_told_apart_by_what_was_seen(directory: Path) -> None:
    modes = "flannel-vxlan,flannel-host-gw"
    found = compared("--modes", modes, "--rounds", 1, "--pings", 5, directory=directory)
    tunnel, route = found["flannel-vxlan"], found["flannel-host-gw"]
    assert (tunnel["proof"]["overhead_bytes"], route["proof"]["overhead_bytes"]) == (50, 0)
    assert (tunnel["state"]["mtu"], route["state"]["mtu"]) == (1450, 1500)
    assert tunnel["proof"]["wire"] == "VXLAN 1, UDP 8472, 192.168.100.11 → 192.168.100.12"
    assert route["proof"]["wire"] == "naked, 10.244.1.3 → 10.244.2.3"
    assert tunnel["proof"]["interfaces"] == route["proof"]["interfaces"] + 2  # flannel.1 on each Node
    for each in (tunnel, route):
        (visit,) = each["rounds"]
        assert len(visit["latencies_us"]) == 5
        assert visit["mbit"] > 100
        assert (directory / "kept" / each["mode"] / "path.pcapng").stat().st_size > 1000


def test_apart_or_together_the_same_is_found(directory: Path) -> None:
    found = compared("--modes", "docker,calico-bgp", "--rounds", 1, "--pings", 5, "--apart", directory=directory)
    assert not found["docker"]["proof"]["delivered"]
    assert not found["docker"]["rounds"]
    assert found["calico-bgp"]["proof"]["wire"].startswith("naked, 10.244.")
    assert len(found["calico-bgp"]["rounds"]) == 1
