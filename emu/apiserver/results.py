"""Traces as the command line prints and keeps them, made here: the reports stay next to the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emu.plan.model import Plan
from emu.report import html, json, junit, text
from emu.report.words import outcome
from emu.trace.model import TraceResult


def trace_answer(result: TraceResult, *, color: bool) -> dict[str, Any]:
    return {
        "ok": result.ok,
        "outcome": outcome(result),
        "text": text.trace_text(result, color),
        "json": json.trace_json(result),
    }


def verify_answer(results: Sequence[TraceResult], plan: Plan, *, color: bool, hops: bool = False) -> dict[str, Any]:
    """`files`: what is kept of a run, by name. With `hops` the text has every path hop by hop, else a line for each,
    and the hops of those that went another way."""
    from emu.plan import render

    title = f"{plan.name}: every path"
    as_json, as_junit = json.traces_json(results), junit.junit(plan.name, results)
    return {
        "ok": bool(results) and all(each.ok for each in results),
        "text": "".join(f"{text.trace_text(each, color)}\n" for each in results if hops or not each.ok)
        + text.summary(results, color),
        "json": as_json,
        "junit": as_junit,
        "files": {
            "result.json": as_json,
            "junit.xml": as_junit,
            "report.html": html.trace_page(results, title),
            "commands.sh": render.render(plan),
        },
    }
