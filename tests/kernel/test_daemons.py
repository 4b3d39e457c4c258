"""Daemons of Nodes: run in the Node's namespaces, follow their files, are seen to end, and go with the Node."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import leaks
import pytest

from emu.errors import MissingTool
from emu.kernel import pods, process, sandbox
from emu.kernel.apply import Kernel
from emu.plan import diff
from emu.plan.drift import drift
from emu.plan.model import Daemon, File, NetnsKind, NetnsPlan, Plan, Sign

pytestmark = pytest.mark.root

RUNTIME = Path("/run/emu")
CLOCK = Daemon(
    name="clock",
    argv=("sleep", "1000"),
    files=(File(path="/run/clock/clock.conf", text="hours\nminutes\n"),),
    reload=("cp", "/run/clock/clock.conf", "/run/clock/seen"),
    status=("cat", "/run/clock/seen"),
    signs=(Sign(what="clock that shows minutes", pattern="^minutes$"),),
)
NODE = NetnsPlan(name="node1", kind=NetnsKind.NODE, owner="node1", daemons=(CLOCK,))


def plan_of(*found: NetnsPlan) -> Plan:
    fabric = NetnsPlan(name="fabric", kind=NetnsKind.FABRIC, owner="fabric")
    return Plan(name="lab", seed=1, netns={each.name: each for each in (fabric, *found)})


class Lab:
    def __init__(self) -> None:
        self.makers = pods.PodNamespaces()
        process.Reaper()
        self.kernel, self.plan = Kernel("lab", self.makers), plan_of()
        self.turn(plan_of(NODE))

    def turn(self, plan: Plan) -> None:
        self.kernel.apply(diff.diff(self.plan, plan), plan)
        self.plan = plan

    def on_node(self, script: str, name: str = "node1") -> str:
        handle = self.kernel.daemons.handle(name)
        assert handle
        return process.run(["sh", "-c", script], ns=handle.namespaces, check=False).stdout

    def drifts(self) -> list[str]:
        node = self.plan.netns["node1"]
        return [str(each) for each in drift(node, self.kernel.read(node))]

    def until(self, met: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 5
        while not met():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)


def in_a_lab(test: Callable[[Lab], None]) -> Callable[[], None]:
    def main(lab: sandbox.Sandbox) -> None:
        test(Lab())
        lab.ready()
        lab.wait()

    def machine() -> None:
        try:
            sandbox.launch("one", RUNTIME, main)
        except Exception as error:
            raise AssertionError((RUNTIME / "one" / "log").read_text()) from error
        sandbox.stop("one", RUNTIME)

    def run() -> None:
        leaks.pretend_machine(machine)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@in_a_lab
def test_a_daemon_runs_in_the_nodes_network_with_files_of_its_own(lab: Lab):
    assert lab.on_node("pgrep -x sleep -a | tail -1").endswith("sleep 1000\n")
    assert lab.on_node("cat /run/clock/clock.conf; hostname") == "hours\nminutes\nnode1\n"
    assert not Path("/run/clock").exists()
    with open(f"/proc/{lab.kernel.daemons.handle('node1').pid}/ns/net") as inside:
        assert os.fstat(inside.fileno()).st_ino == os.fstat(lab.kernel.netns("node1").fd).st_ino


@in_a_lab
def test_changed_files_are_read_without_a_new_start(lab: Lab):
    before = lab.on_node("pgrep -fx 'sleep 1000'")
    changed = replace(CLOCK, files=(File(path="/run/clock/clock.conf", text="minutes\n"),))
    lab.turn(plan_of(replace(NODE, daemons=(changed,))))
    assert lab.on_node("cat /run/clock/seen") == "minutes\n"
    assert lab.on_node("pgrep -fx 'sleep 1000'") == before
    lab.turn(plan_of(replace(NODE, daemons=(replace(changed, argv=("sleep", "2000")),))))
    assert (lab.on_node("pgrep -fx 'sleep 1000'"), lab.on_node("pgrep -fx 'sleep 2000' | wc -l")) == ("", "1\n")


@in_a_lab
def test_one_that_is_killed_stays_so_and_is_drift_until_it_is_repaired(lab: Lab):
    told: list[str] = []
    lab.kernel.daemons.on_change = told.append
    lab.on_node("cp /run/clock/clock.conf /run/clock/seen")
    assert lab.drifts() == []
    lab.on_node("pkill -KILL -fx 'sleep 1000'")
    lab.until(lambda: told, "the end is told")
    assert lab.drifts() == ["node1: daemon clock: wanted sleep 1000, got not running"]
    assert lab.kernel.daemons.stopped("node1") == {"clock": "killed by SIGKILL"}
    assert lab.kernel.absent(NODE) == ("node1: clock does not run (killed by SIGKILL)",)
    lab.kernel.repair(drift(NODE, lab.kernel.read(NODE)))
    assert (lab.drifts(), told, lab.kernel.daemons.stopped("node1")) == ([], ["node1", "node1"], {})


@in_a_lab
def test_a_changed_file_and_a_missing_sign_are_drift(lab: Lab):
    lab.on_node("sed -i s/hours/days/ /run/clock/clock.conf; echo days >/run/clock/seen")
    assert lab.drifts() == [
        "node1: daemon clock: wanted /run/clock/clock.conf:1: hours, got days",
        "node1: daemon clock: wanted clock that shows minutes, got none",
    ]
    lab.kernel.repair(drift(NODE, lab.kernel.read(NODE)))
    assert lab.drifts() == []


@in_a_lab
def test_one_that_fails_leaves_its_last_words(lab: Lab):
    failing = replace(CLOCK, name="failing", argv=("sh", "-c", "echo no such clock >&2; exit 3"), files=())
    lab.turn(plan_of(replace(NODE, daemons=(CLOCK, failing))))
    lab.until(lambda: lab.kernel.daemons.stopped("node1"), "it ends")
    assert lab.kernel.daemons.stopped("node1") == {"failing": "exit status 3: no such clock"}


@in_a_lab
def test_daemons_end_with_the_plan_and_with_their_node(lab: Lab):
    assert lab.on_node("pgrep -fxc 'sleep 1000'") == "1\n"
    lab.turn(plan_of(replace(NODE, daemons=())))
    assert lab.on_node("pgrep -fxc 'sleep 1000'") == "0\n"
    lab.turn(plan_of(NODE))
    lab.turn(plan_of())
    assert lab.kernel.daemons.handle("node1") is None
    lab.until(lambda: not process.run(["pgrep", "-fx", "sleep 1000"], check=False).stdout, "nothing runs")


@in_a_lab
def test_a_program_that_is_not_installed_is_told_before_anything_is_made(lab: Lab):
    absent = replace(CLOCK, argv=("no-such-clock",), package="clocks")
    with pytest.raises(MissingTool) as error:
        lab.turn(plan_of(NODE, replace(NODE, name="node2", owner="node2", daemons=(absent,))))
    assert error.value.hint == "apt-get install clocks"
    with pytest.raises(KeyError):
        lab.kernel.netns("node2")
