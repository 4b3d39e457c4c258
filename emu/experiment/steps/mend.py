"""`mend`: what an earlier step has broken, named as there; or `everything`. What the kernel forgot with a link that was
down (routes, neighbors) is written again from the plan; a daemon that was killed is started again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from emu.api.wrong import Wrong
from emu.experiment.faults import Fault
from emu.experiment.lab import Lab
from emu.experiment.model import Said
from emu.experiment.world import World

EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend(Fault):
    NAME: ClassVar = "mend"

    @property
    def _all(self) -> bool:
        return self.link == EVERYTHING

    def title(self) -> str:
        return f"mend {EVERYTHING if self._all else self.what}"

    def foresee(self, world: World) -> None:
        if not self._all:
            self.check(world)
        mended = [each for each in world.broken if self._all or each.what == self.what]
        if not mended:
            broken = ", ".join(each.what for each in world.broken) or "nothing"
            raise Wrong(f"no earlier step breaks {EVERYTHING if self._all else self.what}", sentence=True,
                        hint=f"broken here: {broken}")  # fmt: skip
        world.broken = [each for each in world.broken if each not in mended]

    def run(self, lab: Lab) -> Said:
        before = len(lab.commands)
        mended = [each for each in lab.broken if self._all or each[0].what == self.what]
        for fault, undo in reversed(mended):
            for where, argv in undo:
                lab.sure(where, argv)
            lab.broken.remove((fault, undo))
        repair = any(fault.link or fault.daemon or fault.program for fault, _ in mended)
        repaired = [f"repaired: {each}" for each in lab.testbed.repair()] if repair else []
        return Said(text="\n".join((*lab.commands[before:], *repaired)))
