"""`capture`: start one, by name, at some points; stop it. Its packets are in NAME.pcapng in the run's folder; a capture
that no step stops ends with the experiment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from emu.api.wrong import Wrong
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    NAME: ClassVar = "capture"
    SHORT: ClassVar = "start"
    start: str = ""
    stop: str = ""
    at: tuple[str, ...] = ("all",)  # pod/client, node1:cni0, fabric, *:flannel.1, all; app=web: the first such Pod

    def title(self) -> str:
        return f"stop capture {self.stop}" if self.stop else f"start capture {self.start} at {', '.join(self.at)}"

    def foresee(self, world: World) -> None:
        if bool(self.start) == bool(self.stop):
            raise Wrong("must have start or stop, and not both")
        if self.stop:
            if not world.captures.get(self.stop):
                raise Wrong(f"is {self.stop}, and no capture of that name is under way", "stop")
            world.captures[self.stop] = False
            return
        if not re.fullmatch(r"[a-z0-9][-a-z0-9]*", self.start):
            raise Wrong(f"is {self.start}, must be of a-z, 0-9 and -", "start")
        if self.start in world.captures:
            raise Wrong(f"is {self.start}, and an earlier capture has that name", "start")
        world.captures[self.start] = True
        world.select(self.at, "at")

    def run(self, lab: Lab) -> Said:
        if self.start:
            file = lab.directory / f"{self.start}.pcapng"
            lab.recordings[self.start] = lab.testbed.capture(lab.points(self.at), file)
            lab.files[self.start] = file
            return Said()
        drops = lab.recordings.pop(self.stop).stop()
        if drops:
            lost = ", ".join(f"{count} at {point}" for point, count in drops.items())
            raise Failed("every packet in the capture", f"{lost} lost")
        return Said(text=str(lab.files[self.stop].name))
