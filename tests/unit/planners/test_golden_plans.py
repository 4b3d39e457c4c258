"""Each shipped topology's Node network and CNI mode, command by command: the plan of the fabric, the routers and the
Nodes with their daemons, without Pods' links and without rules, which have tests of their own.

After a change that is meant: `UPDATE_GOLDEN=1 pytest tests/unit/planners/test_golden_plans.py`, and read the diff."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import shipped

from emu.plan import render
from emu.plan.diff import in_order
from emu.plan.model import Link, NetnsKind, Plan, Role

GOLDEN = Path(__file__).parents[2] / "golden" / "plans"


def commands(plan: Plan) -> Iterator[str]:
    for netns in plan.netns.values():
        if netns.kind is not NetnsKind.POD:
            yield f"# {netns.kind} {netns.owner}"
            for value in in_order(netns):
                if not (isinstance(value, Link) and value.role is Role.HOST_VETH):
                    yield render.command(netns.name, value)
            for daemon in netns.daemons:
                yield render.command(netns.name, daemon)
                settings = (file for file in daemon.files if file.path not in daemon.argv[:3])  # not programs
                yield from (f"{file.path}:\n{file.text}" for file in settings)
            yield from (f"{each.by} brings {render.route(each.route)}" for each in netns.expected)


@pytest.mark.parametrize("folder", sorted(file.parent.name for file in shipped.FOLDERS.glob("*/topology.yaml")))
def test_the_plan_of_each_topology_is_the_reviewed_one(folder: str) -> None:
    text = "\n".join(commands(shipped.plan(folder))) + "\n"
    file = GOLDEN / f"{folder}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
