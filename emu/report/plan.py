"""A plan as a script, or as JSON for programs."""

from __future__ import annotations

import json

from emu.plan import render
from emu.plan.model import Plan
from emu.report.json import plain


def plan_text(plan: Plan, form: str = "script") -> str:
    if form == "json":
        return json.dumps(plain(plan), indent=2, ensure_ascii=False) + "\n"
    return render.render(plan)
