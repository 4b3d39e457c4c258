"""Every experiment of every topology runs, unattended, and each of its claims holds. What is left is the report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from emu.api import load
from emu.kernel import ipvs, runtime_dir

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "experiment"))

import documented

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(ROOT.glob("topologies/*/experiments/*.yaml"))

FAILING = """
topology: {topology}
steps:
  - run: {{in: client, command: "exit 3"}}
    continue: true
  - run: {{in: client, command: echo here, output: there}}
  - ping: {{from: client, to: client2}}
"""

LONG = """
topology: {topology}
steps:
  - capture: {{start: all}}
  - run: {{in: client, command: sleep 60, timeout_s: 70}}
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own, where no testbed is left."""
    monkeypatch.setenv("EMU_RUNTIME_DIR", str(tmp_path / "run"))
    yield tmp_path
    if (tmp_path / "run").exists():
        assert not runtime_dir.running(tmp_path / "run")


def emu(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "emu.main", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def written(directory: Path, text: str) -> Path:
    file = directory / "experiment.yaml"
    file.write_text(text.format(topology=ROOT / "topologies" / "two-node-flannel-vxlan"))
    return file


def able(file: Path) -> object:
    """An experiment, or why it is not run here."""
    options = load.topology(file.parents[1]).cni.options
    lacking = options.get("endpoint_mode") == "vip" and not ipvs.has_module()
    reason = "this kernel has no ip_vs: tests/vm/stock/test_swarm_ports.py"
    return pytest.param(file, marks=pytest.mark.skipif(lacking, reason=reason))


@pytest.mark.parametrize("file", [*map(able, EXPERIMENTS)], ids=lambda file: f"{file.parts[-3]}/{file.stem}")
def test_every_claim_of_an_experiment_holds(file: Path, directory: Path) -> None:
    process = emu("run", file, "--output", directory / "kept")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, f"{out}\n{err}"
    kept = {each.name for each in (directory / "kept").iterdir()}
    assert {"result.json", "junit.xml", "report.html", "report.txt", "commands.sh"} <= kept
    result = json.loads((directory / "kept" / "result.json").read_text())
    assert set(result.get("captures", ())) <= kept
    assert [step["outcome"] for step in result["steps"] if step["outcome"] not in ("passed", "skipped")] == []


def test_the_documentations_examples_are_true(directory: Path) -> None:
    """One after another, in one lab."""
    file = directory / "documented.yaml"
    file.write_text(documented.script("".join(documented.examples().values())))
    process = emu("run", file, "--output", directory / "kept")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, f"{out}\n{err}"


def test_a_failing_step_says_what_it_expected_and_got_and_ends_the_run(directory: Path) -> None:
    process = emu("run", written(directory, FAILING), "--output", directory / "kept", "-o", "json")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    first, second, third = json.loads(out)["steps"]
    assert (first["outcome"], first["expected"], first["got"]) == ("failed", "exit status 0", "3")
    assert (second["outcome"], second["expected"], second["got"]) == ("failed", "output with 'there'", "'here'")
    assert third["outcome"] == "not run"
    suite = ElementTree.parse(directory / "kept" / "junit.xml").find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "2", "1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_experiment_that_is_ended_leaves_no_testbed(directory: Path, number: signal.Signals) -> None:
    process = emu("run", written(directory, LONG), "--output", directory / "kept")
    wait_for((directory / "kept" / "all.pcapng").exists)
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    wait_for(lambda: not runtime_dir.running(directory / "run"))


def wait_for(met: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_testbed_that_is_kept_stays_until_it_is_taken_down(directory: Path) -> None:
    process = emu("run", written(directory, FAILING), "--output", directory / "kept", "--keep")
    process.communicate(timeout=60)
    (kept,) = runtime_dir.running(directory / "run")
    assert kept.ready
    emu("down", kept.name).communicate(timeout=30)


def test_a_wrong_script_starts_nothing(directory: Path) -> None:
    file = written(directory, "topology: {topology}\nsteps:\n  - pign: {{from: client, to: client2}}\n")
    process = emu("run", file)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert f"{file}:3: step 1: there is no kind of step pign; did you mean ping" in err
    assert not (directory / "run").exists()
