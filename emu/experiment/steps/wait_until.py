"""`wait until`: another step, tried again until it goes well. When the time is over its last failure says what was
missing. Only steps that look and change nothing can be waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from emu.api.wrong import Wrong
from emu.experiment.lab import PAUSE_S, Lab
from emu.experiment.model import Failed, Said, Step
from emu.experiment.world import World

LOOKING = ("run", "request", "ping", "expect path", "expect refusal", "expect drop", "expect table")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitUntil:
    NAME: ClassVar = "wait until"
    SHORT: ClassVar = ""
    step: Step
    timeout_s: int = 5

    def title(self) -> str:
        return f"wait until {self.step.title()}"

    def foresee(self, world: World) -> None:
        if self.step.NAME not in LOOKING:
            raise Wrong(f"{self.step.NAME} cannot be waited for", sentence=True, hint=f"one of: {', '.join(LOOKING)}")
        self.step.foresee(world)

    def run(self, lab: Lab) -> Said:
        deadline = time.monotonic() + self.timeout_s
        while True:
            tried = len(lab.commands), len(lab.paths)
            try:
                return self.step.run(lab)
            except Failed as failure:
                if time.monotonic() > deadline:
                    what = f"within {self.timeout_s} s {failure.expected}"
                    raise Failed(what, failure.got, failure.more) from None
            del lab.commands[tried[0] :], lab.paths[tried[1] :]  # the last try alone is told
            time.sleep(PAUSE_S)
