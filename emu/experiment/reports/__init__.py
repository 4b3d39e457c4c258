"""What is kept of a run, by file name. A new report: a file here, and one line in this mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emu.experiment.model import Result
from emu.experiment.reports.as_html import html
from emu.experiment.reports.as_json import json
from emu.experiment.reports.as_junit import junit
from emu.experiment.reports.as_text import text

REPORTS: Mapping[str, Callable[[Result], str]] = {
    "result.json": json,
    "junit.xml": junit,
    "report.html": html,
    "report.txt": text,
}
