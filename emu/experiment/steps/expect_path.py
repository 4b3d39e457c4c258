"""`expect path`: one request, its path predicted from the plan and observed in the kernel: they are the same, and it
goes through these hops, in this tunnel, with these translations, for these causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.world import World, fits
from emu.report import text, words
from emu.trace.model import Leg, TraceResult, Verdict

MOST_PAYLOAD = 65507  # bytes in the longest IPv4 packet
TUNNELS = ("vxlan", "ipip", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectPath:
    NAME: ClassVar = "expect path"
    SHORT: ClassVar = ""
    source: str = json_name("from")
    to: str
    protocol: str = ""  # tcp, udp, icmp; "": what the target suggests
    size: int | None = None  # bytes of payload of an ICMP echo or a datagram
    fragment: bool = True  # false: the don't-fragment bit is set
    through: tuple[str, ...] = ()  # interfaces on the way there, in this order, others between: node1:cni0, *:flannel.1
    avoids: tuple[str, ...] = ()
    encapsulation: str = ""  # vxlan, …, none
    nat: tuple[str, ...] = ()  # DNAT, SNAT …, none: parts of what changed on the way there
    causes: tuple[str, ...] = ()  # parts of rules, routes … that led it

    def title(self) -> str:
        return f"expect path {self.source} → {self.to}{f' ({self.protocol})' if self.protocol else ''}"

    def foresee(self, world: World) -> None:
        foresee_flow(world, self)
        for name in ("through", "avoids"):
            for index, each in enumerate(getattr(self, name)):
                world.point(each, name, index)
        foresee_tunnel(self.encapsulation)

    def run(self, lab: Lab) -> Said:
        result = traced(lab, self)
        account = text.trace_text(result, color=False)
        if not result.ok:
            raise Failed("the predicted path", words.outcome(result), account)
        leg = result.observed.forward
        if leg.verdict is not Verdict.DELIVERED:
            raise Failed("delivery", words.ending(leg), account)
        for wanted, got in self._misses(leg):
            raise Failed(wanted, got, account)
        return Said(text=account)

    def _misses(self, leg: Leg) -> Iterator[tuple[str, str]]:
        """(expected, got) of each claim that does not hold."""
        way = " → ".join(dict.fromkeys(str(hop.point).removeprefix("default/") for hop in leg.hops))
        hops = iter(leg.hops)
        for each in self.through:
            if not any(fits(hop.point, each) for hop in hops):
                yield f"to pass {each} (as number {self.through.index(each) + 1} of those named)", way
        for each in self.avoids:
            if any(fits(hop.point, each) for hop in leg.hops):
                yield f"to avoid {each}", way
        yield from self._told("encapsulation", (self.encapsulation,) if self.encapsulation else (), tunnels(leg))
        yield from self._told("nat", self.nat, [each for hop in leg.hops for each in hop.changed if "NAT" in each])
        causes = [each for hop in leg.hops for each in hop.causes]
        yield from self._told("causes", self.causes, [f"{each.text} {each.effect}" for each in (*leg.origin, *causes)])

    def _told(self, what: str, wanted: tuple[str, ...], got: list[str]) -> Iterator[tuple[str, str]]:
        shown = "; ".join(dict.fromkeys(got)) or "none"
        for each in wanted:
            if each == "none" and got and what != "causes":
                yield f"no {what}", shown
            elif each != "none" and not any(each.lower() in found.lower() for found in got):
                yield f"{what} {each}", shown


def tunnels(leg: Leg) -> list[str]:
    return [words.tunnel(hop) for hop in leg.hops if hop.encapsulation]


class Request(Protocol):
    """What the three steps that send one and look have in common."""

    @property
    def source(self) -> str: ...
    @property
    def to(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def fragment(self) -> bool: ...


def foresee_flow(world: World, asked: Request) -> None:
    world.where(asked.source, "from")
    world.target(asked.to, "to")
    if asked.protocol not in ("", "tcp", "udp", "icmp"):
        raise Wrong(f"is {asked.protocol}, must be tcp, udp or icmp", "protocol")
    if asked.size is None and not asked.fragment:
        raise Wrong("is missing: of a packet that must not be fragmented", "size")
    if asked.size is not None and not 0 <= asked.size <= MOST_PAYLOAD:
        raise Wrong(f"is {asked.size}, must be 0-{MOST_PAYLOAD}", "size")


def foresee_tunnel(encapsulation: str) -> None:
    if encapsulation and encapsulation.lower() not in TUNNELS:
        raise Wrong(f"is {encapsulation}, must be {', '.join(TUNNELS[:-1])} or {TUNNELS[-1]}", "encapsulation")


def traced(lab: Lab, asked: Request) -> TraceResult:
    ends = lab.where(asked.source), lab.target(asked.to), asked.protocol
    result = lab.testbed.trace(*ends, size=asked.size, df=not asked.fragment)
    lab.paths.append(result)
    return result
