"""`run`: a shell command in a Pod or on a Node; its exit status and what it prints are what they should be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.testbed import Ran
from emu.experiment.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    NAME: ClassVar = "run"
    SHORT: ClassVar = ""
    where: str = json_name("in")
    command: str
    status: int = 0
    output: tuple[str, ...] = ()  # each is somewhere in what it prints
    without: tuple[str, ...] = ()  # and none of these
    matches: str = ""  # a regular expression that is found in it
    timeout_s: int = json_name("timeout_s", default=10)

    def title(self) -> str:
        return f"{self.where}$ {self.command.strip()}"

    def foresee(self, world: World) -> None:
        world.where(self.where, "in")
        try:
            re.compile(self.matches)
        except re.error as error:
            raise Wrong(f"is no regular expression: {error}", "matches") from None

    def run(self, lab: Lab) -> Said:
        ran = lab.run(lab.where(self.where), ["sh", "-c", self.command], self.timeout_s)
        self._check(ran, ran.out + ran.err)
        return Said(text=(ran.out + ran.err).rstrip())

    def _check(self, ran: Ran, text: str) -> None:
        if ran.status == -1:
            raise Failed("it to end", f"it had not after {self.timeout_s} s", text)
        if ran.status != self.status:
            raise Failed(f"exit status {self.status}", str(ran.status), text)
        for each in self.output:
            if each not in text:
                raise Failed(f"output with {each!r}", _shown(text), text)
        for each in self.without:
            if each in text:
                raise Failed(f"output without {each!r}", _shown(text), text)
        if not re.search(self.matches, text, re.M):
            raise Failed(f"output that matches {self.matches}", _shown(text), text)


def _shown(text: str) -> str:
    lines = text.strip().splitlines()
    return repr(lines[0][:100]) + (f" and {len(lines) - 1} more lines" if lines[1:] else "") if lines else "nothing"
