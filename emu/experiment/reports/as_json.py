"""A run as JSON: the model's own field names; empty fields left out, but for `ok`."""

from __future__ import annotations

from json import dumps

from emu.experiment.model import Result
from emu.report.json import plain


def json(result: Result) -> str:
    return dumps({"ok": result.ok, **plain(result)}, indent=2, ensure_ascii=False) + "\n"
