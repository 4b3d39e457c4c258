"""A run for a terminal: a line a step, and what a failing one expected and got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from emu.experiment.model import Outcome, Result, StepResult

MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.SKIPPED: "-", Outcome.NOT_RUN: "·"}
_COLORS = {Outcome.PASSED: "32", Outcome.FAILED: "31", Outcome.SKIPPED: "33", Outcome.NOT_RUN: "2"}
_LONGEST = 60  # lines of what more there is to say of a failure


def text(result: Result) -> str:
    """With everything the steps have said."""
    lines = [result.about, ""] if result.about else []
    for number, step in enumerate(result.steps, 1):
        lines += step_lines(number, step, color=False)
        if step.outcome is Outcome.PASSED:
            lines += [f"       {line}".rstrip() for line in step.text.splitlines()]
    return "\n".join((*lines, summary(result))) + "\n"


def step_lines(number: int, step: StepResult, *, color: bool) -> Iterator[str]:
    mark = f"\x1b[{_COLORS[step.outcome]}m{MARKS[step.outcome]}\x1b[0m" if color else MARKS[step.outcome]
    seconds = f"  {step.seconds:.2f} s" if step.seconds >= 0.005 else ""
    yield f"{number:>3} {mark} {' '.join(step.title.split())}{seconds}"
    if step.outcome is Outcome.SKIPPED:
        yield f"      skipped: {step.text}"
    elif step.outcome is Outcome.FAILED:
        yield f"      {step.place}"
        yield f"      expected {step.expected}"
        yield f"      got      {step.got}"
        lines = step.text.rstrip().splitlines()
        yield from (f"      | {line}" for line in lines[:_LONGEST])
        if lines[_LONGEST:]:
            yield f"      | … {len(lines) - _LONGEST} more lines, in the report"
    elif step.outcome is Outcome.PASSED and step.kind == "measure":
        yield from (f"      {line}" for line in step.text.splitlines())


def summary(result: Result) -> str:
    counts = Counter(step.outcome for step in result.steps)
    rest = [f"{counts[each]} {each}" for each in (Outcome.FAILED, Outcome.SKIPPED, Outcome.NOT_RUN) if counts[each]]
    passed = f"{counts[Outcome.PASSED]} of {len(result.steps)} steps passed"
    return f"{result.experiment} on {result.topology}: {', '.join((passed, *rest))}, {result.seconds:.1f} s"
