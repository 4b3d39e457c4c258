"""A run as one self-contained page: the steps, what they did and said, and a drawing of every path."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from emu.experiment.model import Outcome, Result, StepResult
from emu.experiment.reports.as_text import MARKS, summary
from emu.report.html import page, trace_section

_STYLES = {Outcome.PASSED: "good", Outcome.FAILED: "bad"}


def html(result: Result) -> str:
    return page(f"{result.experiment} on {result.topology}", "".join(_body(result)))


def _body(result: Result) -> Iterator[str]:
    yield f"<p>{escape(result.about)}</p>\n" if result.about else ""
    yield f'<p class="{"good" if result.ok else "bad"}">{escape(summary(result))}; {escape(result.started)}.</p>\n'
    if result.captures:
        links = ", ".join(f'<a href="{escape(each)}">{escape(each)}</a>' for each in result.captures)
        yield f"<p>Captures, for Wireshark: {links}.</p>\n"
    for number, step in enumerate(result.steps, 1):
        yield from _step(number, step)


def _step(number: int, step: StepResult) -> Iterator[str]:
    style = _STYLES.get(step.outcome, "dim")
    opened = " open" if step.outcome is Outcome.FAILED else ""
    yield f'<details{opened}><summary><h2><span class="{style}">{MARKS[step.outcome]}</span> '
    yield f"{number}. {escape(' '.join(step.title.split()))}</h2>"
    yield f' <span class="dim">{step.seconds:.2f} s</span></summary>\n<p class="dim">{escape(step.place)}</p>\n'
    if step.outcome is Outcome.FAILED:
        yield f'<p class="bad">Expected {escape(step.expected)}; got {escape(step.got)}</p>\n'
    if step.commands:
        yield f"<pre>{escape(chr(10).join(step.commands))}</pre>\n"
    if step.text and not step.paths:
        yield f"<pre>{escape(step.text)}</pre>\n"
    yield from map(trace_section, step.paths)
    yield "</details>\n"
