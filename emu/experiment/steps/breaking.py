"""`break`: a link, a route, a neighbor or FDB entry, a process, a sysctl or a rule, behind the testbed's back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from emu.api.wrong import Wrong
from emu.experiment import faults
from emu.experiment.faults import Fault
from emu.experiment.lab import Lab
from emu.experiment.model import Said
from emu.experiment.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Break(Fault):
    NAME: ClassVar = "break"

    def title(self) -> str:
        return f"break {self.what}"

    def foresee(self, world: World) -> None:
        self.check(world)
        if any(each.what == self.what for each in world.broken):
            raise Wrong(f"an earlier step has broken {self.what} already", sentence=True)
        if self.kind != "process":  # that mends itself
            world.broken.append(self)

    def run(self, lab: Lab) -> Said:
        before = len(lab.commands)
        lab.broken.append((self, faults.make(self, lab)))
        return Said(text="\n".join(lab.commands[before:]))
