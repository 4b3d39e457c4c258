"""The install step's modules: what the rules need, loaded now and at every boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from emu.kernel import trials

SCRIPT = Path(__file__).parents[2] / "scripts" / "modules"


class Machine:
    """A folder in the place of /, in whose kernel every module of `loadable` can be loaded; modprobe does it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.library = root / "lib/modules" / os.uname().release
        self.list = root / "etc/modules-load.d/kube-emu.conf"
        for folder in (self.library, self.list.parent, root / "sys/module", root / "bin"):
            folder.mkdir(parents=True)
        modprobe = root / "bin/modprobe"
        modprobe.write_text('#!/bin/sh\nshift\nfor each; do mkdir "$EMU_ROOT/sys/module/$each"; done\n')
        modprobe.chmod(0o755)

    def loadable(self, *modules: str) -> None:
        lines = [f"kernel/net/{each}.ko.xz: kernel/net/other.ko.xz\n" for each in modules]
        (self.library / "modules.dep").write_text("".join(lines))

    def run(self, *arguments: str) -> str:
        env = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "EMU_ROOT": str(self.root)}
        return subprocess.run([SCRIPT, *arguments], env=env, check=True, capture_output=True, text=True).stdout

    def loaded(self) -> set[str]:
        return {each.name for each in (self.root / "sys/module").iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_only_what_is_not_there_is_loaded_and_listed_for_the_next_boot(machine: Machine) -> None:
    machine.loadable("veth", "vxlan", "nothing_of_ours")
    (machine.root / "sys/module/veth").mkdir()
    machine.run()
    assert machine.loaded() == {"veth", "vxlan"}
    assert machine.list.read_text() == "vxlan\n"


def test_a_second_run_keeps_what_the_first_one_listed(machine: Machine) -> None:
    machine.loadable("vxlan")
    machine.run()
    machine.loadable("vxlan", "xt_set", "ip_set")
    machine.run()
    assert machine.list.read_text().split() == ["ip_set", "vxlan", "xt_set"]
    machine.run()
    assert machine.list.read_text().split() == ["ip_set", "vxlan", "xt_set"]


def test_a_kernel_without_loadable_modules_needs_none(machine: Machine) -> None:
    assert machine.run() == ""
    assert not machine.list.exists()


def test_every_module_that_planned_rules_need_is_loaded(machine: Machine) -> None:
    rules = (*trials.RULES, *trials.CALICO_RULES, *trials.AWS_RULES, *trials.CILIUM_RULES)
    needed = {name for _, names, _, _ in rules for name in names.split()}
    machine.loadable(*needed)
    assert set(machine.run("--list").split()) == needed
    assert machine.loaded() == set()
