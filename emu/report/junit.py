"""Trace results as JUnit XML, for CI: one test case a request; a failure says the first hop that differs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from emu.report import words
from emu.report.text import trace_text
from emu.trace.model import TraceResult

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(suite: str, results: Sequence[TraceResult], seconds: Mapping[str, float] | None = None) -> str:
    """`seconds`: how long each took, by its title (`words.title`)."""
    taken = seconds or {}
    failures = sum(not result.ok for result in results)
    total = f"{sum(taken.values()):.3f}"
    root = ElementTree.Element("testsuites")
    node = ElementTree.SubElement(
        root, "testsuite", name=suite, tests=str(len(results)), failures=str(failures), errors="0", time=total
    )
    for result in results:
        name = words.title(result.flow)
        case = ElementTree.SubElement(node, "testcase", classname=suite, name=name, time=f"{taken.get(name, 0):.3f}")
        if not result.ok:
            failure = ElementTree.SubElement(case, "failure", message=_clean(words.outcome(result)))
            failure.text = _clean(trace_text(result, color=False))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """XML 1.0 has no control characters; an answer may hold any."""
    return _NOT_XML.sub("�", text)
