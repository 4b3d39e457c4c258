"""The comparison can fail: something is broken behind the testbed's back, the trace says where the packet left the
predicted path, the drift says what was broken, the repair mends it.

Every case runs in one lab of its group, one after the other: what a repair leaves behind fails the next."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from proving import impatient, inside, shell, side_by_side, spelled

from emu.planners.cni import MODES
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Case:
    """One entry of breakages.yaml, where the fields are explained."""

    group: str
    name: str
    where: str
    command: str
    says: str
    drift: tuple[str, ...]
    source: str
    target: str
    program: str


def _case(group: str, entry: dict[str, Any]) -> Case:
    return Case(
        group=group,
        name=entry["name"],
        where=entry["where"],
        command=entry["break"],
        says=entry["says"],
        drift=tuple(entry["drift"]),
        source=entry.get("from", "client"),
        target=entry.get("to", "nginx-svc"),
        program=entry.get("run", ""),
    )


CASES = [
    _case(group, entry)
    for group, entries in yaml.safe_load(Path(__file__).with_name("breakages.yaml").read_text()).items()
    for entry in entries
]


@dataclass(frozen=True)
class Outcome:
    words: dict[str, str]
    before: str
    broken: str
    drift_told: tuple[str, ...]
    drift_checked: tuple[str, ...]
    left: tuple[str, ...]
    after: str


def _break(lab: Testbed, case: Case) -> Outcome:
    words = spelled(lab)
    source, target = case.source.format(**words), case.target.format(**words)
    command = case.program.format(**words).split()

    def difference() -> str:
        result = lab.trace(source, target, command)
        return "" if result.ok else str(result.difference and result.difference.what)

    before = difference()
    shell(lab, case.where.format(**words), case.command.format(**words))
    broken = lab.trace(source, target, command)
    checked = tuple(str(each) for each in lab.check(repair=True))
    left = tuple(str(each) for each in lab.check())
    said = broken.difference.what if broken.difference else ""
    return Outcome(words, before, said, broken.drift, checked, left, _mended(difference))


def _mended(difference: Callable[[], str]) -> str:
    """Who waits for an answer to ARP asks again after a second."""
    deadline = time.monotonic() + 3
    while (said := difference()) and time.monotonic() < deadline:
        pass
    return said


def _run_group(group: str) -> dict[str, Outcome]:
    def run(lab: Testbed) -> dict[str, Outcome]:
        impatient()
        return {case.name: _break(lab, case) for case in CASES if case.group == group}

    mode = {"cni": group} if any(group == each.NAME for each in MODES) else {}
    return inside(run, **mode)  # type: ignore[no-any-return]


@cache
def _outcomes() -> dict[str, dict[str, Outcome]]:
    groups = tuple(dict.fromkeys(case.group for case in CASES))
    return dict(zip(groups, side_by_side(_run_group, groups), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_breakage_is_seen_named_and_mended(case: Case) -> None:
    outcome = _outcomes()[case.group][case.name]
    assert outcome.before == "", "the lab was not as predicted before"
    assert _begins(case.says, outcome.broken, outcome.words)
    assert len(outcome.drift_checked) == len(case.drift), outcome.drift_checked
    pairs = zip(case.drift, outcome.drift_checked, strict=True)
    assert [each for wanted, each in pairs if not _begins(wanted, each, outcome.words)] == []
    assert outcome.drift_told == outcome.drift_checked, "the trace names the same drift as check"
    assert outcome.left == (), "check finds something after the repair"
    assert outcome.after == "", "the path is not the predicted one after the repair"


def _begins(pattern: str, text: str, words: dict[str, str]) -> bool:
    """Does the text begin so? `.*` stands for anything."""
    return re.match(".*".join(re.escape(part.format(**words)) for part in pattern.split(".*")), text) is not None
