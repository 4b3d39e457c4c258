"""`expect drop`: no answer comes, or that of a router that knows no way; the packet is last seen at this interface;
what differs from the plan is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.steps.expect_path import foresee_flow, traced
from emu.experiment.steps.expect_refusal import check_end, refused
from emu.experiment.world import World
from emu.report import text, words
from emu.trace.model import TraceResult, Verdict

#: What a client is told when a packet goes nowhere, the last by its own device, which has thrown it away.
_NOWHERE = ("No route to host", "Network is unreachable", "No buffer space available")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectDrop:
    NAME: ClassVar = "expect drop"
    SHORT: ClassVar = ""
    source: str = json_name("from")
    to: str
    protocol: str = ""
    size: int | None = None  # bytes of payload of an ICMP echo or a datagram
    fragment: bool = True  # false: the don't-fragment bit is set
    at: str = ""  # the last interface it was seen at
    because: str = ""  # a part of the reason, of what differs from the prediction, or of what drifted from the plan
    reply: bool = False  # true: it arrives, and its answer is what is lost

    def title(self) -> str:
        return f"expect drop {self.source} → {self.to}{f' at {self.at}' if self.at else ''}"

    def foresee(self, world: World) -> None:
        foresee_flow(world, self)
        if self.at:
            world.point(self.at, "at")

    def run(self, lab: Lab) -> Said:
        result = traced(lab, self)
        account = text.trace_text(result, color=False)
        if refused(result) or result.reply_text not in ("no answer", *_NOWHERE):
            raise Failed("no answer", result.reply_text or "an answer", account)
        leg = result.observed.reply if self.reply else result.observed.forward
        if leg is None or leg.verdict is Verdict.DELIVERED:
            what = "reply" if self.reply else "packet"
            raise Failed(f"the {what} to be dropped", words.ending(leg) if leg else "no reply was seen", account)
        difference = [result.difference.what] if result.difference else []
        check_end(leg, self.at, self.because, [*difference, *self._predicted(result), *result.drift], account)
        return Said(text=account)

    def _predicted(self, result: TraceResult) -> Iterator[str]:
        """Why it ends, where that is no packet's to show: nobody has answered ARP."""
        if result.matched is not None:
            path = result.prediction.paths[result.matched]
            leg = path.reply if self.reply else path.forward
            yield leg.reason if leg else ""
