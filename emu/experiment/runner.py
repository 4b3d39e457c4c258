"""Runs the steps in their order and tells listeners. A failing step ends the run, unless it says `continue`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from emu.errors import EmuError
from emu.experiment.lab import Lab
from emu.experiment.model import (
    Experiment,
    Failed,
    Listener,
    Outcome,
    Planned,
    Result,
    Said,
    Skipped,
    StepEvent,
    StepResult,
)
from emu.experiment.testbed import Testbed


def run(experiment: Experiment, testbed: Testbed, directory: Path, listeners: Sequence[Listener] = ()) -> Result:
    """`directory` (it is there) gets the captures. The testbed stays as the steps leave it."""
    lab = Lab(experiment, testbed, directory)
    started, began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), time.monotonic()
    try:
        steps = _steps(experiment.steps, lab, listeners)
    finally:
        for recording in lab.recordings.values():
            recording.stop()
    return Result(
        experiment=experiment.name,
        about=experiment.about,
        topology=experiment.topology.name,
        started=started,
        seconds=time.monotonic() - began,
        steps=steps,
        captures=tuple(file.name for file in lab.files.values()),
    )


def _steps(planned: Sequence[Planned], lab: Lab, listeners: Sequence[Listener]) -> tuple[StepResult, ...]:
    results: list[StepResult] = []
    over = False
    for index, each in enumerate(planned):
        _tell(listeners, StepEvent(index, len(planned), each.title))
        result = _not_run(each) if over else _step(each, lab)
        over = over or (result.outcome is Outcome.FAILED and not each.go_on)
        results.append(result)
        _tell(listeners, StepEvent(index, len(planned), each.title, result))
    return tuple(results)


def _tell(listeners: Sequence[Listener], event: StepEvent) -> None:
    for listener in listeners:
        listener(event)


def _step(planned: Planned, lab: Lab) -> StepResult:
    lab.commands, lab.paths = [], []
    began = time.monotonic()
    result = replace(_outcome(planned, lab), seconds=time.monotonic() - began)
    return replace(result, commands=tuple(lab.commands), paths=tuple(lab.paths))


def _outcome(planned: Planned, lab: Lab) -> StepResult:
    blank = _not_run(planned)
    try:
        said: Said = planned.step.run(lab)
    except Failed as failure:
        failed = replace(blank, outcome=Outcome.FAILED, expected=failure.expected)
        return replace(failed, got=failure.got, text=failure.more)
    except Skipped as skipped:
        return replace(blank, outcome=Outcome.SKIPPED, text=str(skipped))
    except EmuError as error:
        return replace(blank, outcome=Outcome.FAILED, expected="the step to be possible", got=str(error))
    return replace(blank, outcome=Outcome.PASSED, text=said.text, numbers=said.numbers)


def _not_run(planned: Planned) -> StepResult:
    return StepResult(title=planned.title, kind=planned.step.NAME, place=str(planned.place), outcome=Outcome.NOT_RUN)
