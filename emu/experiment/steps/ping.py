"""`ping`: echo requests, all answered, or none: then silence is what is expected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    NAME: ClassVar = "ping"
    SHORT: ClassVar = ""
    source: str = json_name("from")
    to: str
    count: int = 1
    answered: bool = True
    size: int = 56  # bytes of payload: the IPv4 packet has 28 more
    fragment: bool = True  # false: the don't-fragment bit is set and the path MTU obeyed
    timeout_s: int = json_name("timeout_s", default=1)  # of each

    def title(self) -> str:
        size = f" with {self.size} bytes" if self.size != 56 else ""
        return f"ping {self.to} from {self.source}{size}{'' if self.answered else ', unanswered'}"

    def foresee(self, world: World) -> None:
        world.where(self.source, "from")
        world.target(self.to, "to")
        for name, value, most in (("count", self.count, 1000), ("size", self.size, 65507)):
            if not 0 <= value - (name == "count") <= most:
                raise Wrong(f"is {value}, must be {int(name == 'count')}-{most}", name)

    def run(self, lab: Lab) -> Said:
        argv = ["ping", "-n", "-c", str(self.count), "-i", "0.01", "-W", str(self.timeout_s), "-s", str(self.size)]
        argv += [] if self.fragment else ["-M", "do"]
        ran = lab.run(lab.where(self.source), [*argv, lab.address(self.to)], self.count * self.timeout_s + 5)
        text = (ran.out + ran.err).strip()
        found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        if not found:
            if not self.answered and ran.status:
                return Said(text=text)
            raise Failed("ping to run", f"exit status {ran.status}", text)
        wanted, got = self.count if self.answered else 0, int(found[2])
        if got != wanted:
            raise Failed(f"{wanted} of {self.count} answered", str(got), text)
        return Said(text=text)
