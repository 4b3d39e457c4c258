"""A run as JUnit XML: one test case a step."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from emu.experiment.model import Outcome, Result, StepResult

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: Result) -> str:
    failures = sum(each.outcome is Outcome.FAILED for each in result.steps)
    skipped = sum(each.outcome in (Outcome.SKIPPED, Outcome.NOT_RUN) for each in result.steps)
    name = f"{result.topology}.{result.experiment}"
    attributes: dict[str, str] = {
        "name": name,
        "tests": str(len(result.steps)),
        "failures": str(failures),
        "skipped": str(skipped),
        "errors": "0",
        "time": f"{result.seconds:.3f}",
        "timestamp": result.started,
    }
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for number, step in enumerate(result.steps, 1):
        _case(suite, name, number, step)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, name: str, number: int, step: StepResult) -> None:
    title = _clean(f"{number}. {' '.join(step.title.split())}")
    case = ElementTree.SubElement(suite, "testcase", classname=name, name=title, time=f"{step.seconds:.3f}")
    if step.outcome is Outcome.FAILED:
        message = _clean(f"expected {step.expected}, got {step.got}")
        failure = ElementTree.SubElement(case, "failure", message=message)
        failure.text = _clean(f"{step.place}\n{step.text}")
    elif step.outcome is Outcome.SKIPPED:
        ElementTree.SubElement(case, "skipped", message=_clean(step.text))
    elif step.outcome is Outcome.NOT_RUN:
        ElementTree.SubElement(case, "skipped", message="an earlier step has failed")
    elif step.text:
        ElementTree.SubElement(case, "system-out").text = _clean(step.text)


def _clean(text: str) -> str:
    """XML 1.0 has no control characters; what a program prints may hold any."""
    return _NOT_XML.sub("�", text)
