"""`expect refusal`: somebody says no (REJECT, a closed port), at once; silence is no refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.steps.expect_path import foresee_flow, traced
from emu.experiment.world import World, fits
from emu.report import text, words
from emu.trace.model import Leg, TraceResult

_TOO_LONG = ("message too long", "fragmentation needed", "packet too big")
_NOT_REFUSED = ("connected", "no answer", "echo reply")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectRefusal:
    NAME: ClassVar = "expect refusal"
    SHORT: ClassVar = ""
    source: str = json_name("from")
    to: str
    protocol: str = ""
    size: int | None = None  # bytes of payload of an ICMP echo or a datagram
    fragment: bool = True  # false: the don't-fragment bit is set
    at: str = ""  # the last interface it was seen at on its way there
    because: str = ""  # a part of the rule or reason
    within_ms: int = json_name("within_ms", default=500)  # of a TCP connection; measured by the refused program itself

    def title(self) -> str:
        return f"expect refusal {self.source} → {self.to}"

    def foresee(self, world: World) -> None:
        foresee_flow(world, self)
        if self.at:
            world.point(self.at, "at")

    def run(self, lab: Lab) -> Said:
        result = traced(lab, self)
        account = text.trace_text(result, color=False)
        if not refused(result):
            raise Failed("a refusal", result.reply_text or "nothing", account)
        if not result.ok:
            raise Failed("the predicted refusal", words.outcome(result), account)
        check_end(result.observed.forward, self.at, self.because, _unseen(result), account)
        took_ms = self._timed(lab, result) if result.flow.proto == "tcp" else 0.0
        took = f"\nrefused after {took_ms:.1f} ms" if took_ms else ""
        return Said(text=account + took, numbers={"refused_after_ms": took_ms} if took_ms else {})

    def _timed(self, lab: Lab, result: TraceResult) -> float:
        """By curl, which has the address already: 7 is its exit status for a refused connection."""
        address = f"[{result.flow.dst}]" if result.flow.dst.version == 6 else str(result.flow.dst)
        argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{time_total}", f"http://{address}:{result.flow.dport}/"]
        ran = lab.run(lab.where(self.source), argv, 10)
        if ran.status != 7:
            raise Failed("curl to be refused (exit status 7)", f"exit status {ran.status}", ran.err)
        took_ms = float(ran.out) * 1000
        if took_ms > self.within_ms:
            raise Failed(f"a refusal within {self.within_ms} ms", f"one after {took_ms:.1f} ms")
        return took_ms


def refused(result: TraceResult) -> bool:
    """By a port, a rule, or a device that does not take a packet so long."""
    told = result.reply_text.lower()
    return told not in ("", *_NOT_REFUSED) and ("refused" in told or told.startswith(_TOO_LONG))


def _unseen(result: TraceResult) -> list[str]:
    """A Node's own packet that OUTPUT rejects is seen at no interface: then the predicted reason is all there is."""
    if result.observed.forward.hops or result.matched is None:
        return []
    return [result.prediction.paths[result.matched].forward.reason]


def check_end(leg: Leg, at: str, because: str, also: list[str], account: str) -> None:
    """Where and why a leg ended. `also`: more texts the reason may stand in."""
    last = leg.hops[-1].point if leg.hops else None
    if at and not (last and fits(last, at)):
        raise Failed(
            f"the end at {at}", str(last).removeprefix("default/") if last else "it was not seen at all", account
        )
    causes = [f"{each.text} {each.effect}" for each in (leg.hops[-1].causes if leg.hops else leg.origin)]
    reasons = [leg.reason, *causes, *(f"{each.text} {each.effect}" for each in leg.origin), *also]
    if because and not any(because.lower() in each.lower() for each in reasons):
        raise Failed(f"a reason with {because!r}", "; ".join(each for each in reasons if each) or "none", account)
