"""`expect packets`: how many of a kind a stopped capture holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.capture import decode, pcapng
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.steps.expect_path import foresee_tunnel
from emu.experiment.world import World, fits
from emu.report import words
from emu.trace.model import PacketRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectPackets:
    NAME: ClassVar = "expect packets"
    SHORT: ClassVar = ""
    where: str = json_name("in")  # the capture's name
    at: str = ""  # at these interfaces alone: node1:flannel.1
    source: str = json_name("from", default="")  # by the headers of the inner packet
    to: str = ""
    protocol: str = ""
    port: int = 0  # destination
    encapsulation: str = ""  # vxlan …, none
    note: str = ""  # a part of what a packet is: SYN, echo request, unreachable
    count: int | None = None
    at_least: int = json_name("at_least", default=1)  # not looked at when there is a count

    def title(self) -> str:
        return f"expect {'' if self.count is None else f'{self.count} '}packets in capture {self.where}"

    def foresee(self, world: World) -> None:
        stopped(world, self.where)
        if self.at:
            world.point(self.at, "at")
        for field, value in (("from", self.source), ("to", self.to)):
            if value:
                world.target(value, field)
        foresee_tunnel(self.encapsulation)

    def run(self, lab: Lab) -> Said:
        source, to = (lab.address(each) if each else "" for each in (self.source, self.to))
        found = [each for each in self._records(lab) if self._fits(each, source, to)]
        shown = "\n".join(line(each) for each in found[:40])
        if self.count is not None and len(found) != self.count:
            raise Failed(f"{self.count} packets", str(len(found)), shown)
        if self.count is None and len(found) < self.at_least:
            raise Failed(f"at least {self.at_least} packets", str(len(found)), shown)
        return Said(text=shown, numbers={"packets": len(found)})

    def _records(self, lab: Lab) -> Iterator[PacketRecord]:
        for frame in pcapng.read(lab.files[self.where]).frames:
            if not self.at or fits(frame.point, self.at):
                yield decode.decode(frame)

    def _fits(self, record: PacketRecord, source: str, to: str) -> bool:
        inner = record.inner
        if inner is None:
            return not (source or to or self.protocol or self.port) and self.note.lower() in record.summary.lower()
        kind = record.encapsulation.kind if record.encapsulation else "none"
        return (
            (not source or str(inner.src) == source)
            and (not to or str(inner.dst) == to)
            and self.protocol in ("", inner.proto)
            and self.port in (0, inner.dport)
            and self.encapsulation in ("", kind)
            and self.note.lower() in inner.note.lower()
        )


def stopped(world: World, name: str) -> None:
    if name not in world.captures:
        known = ", ".join(world.captures) or "none"
        raise Wrong(f"is {name}, and no earlier step starts a capture of that name", "in", hint=f"there are: {known}")
    if world.captures[name]:
        raise Wrong(f"is {name}, which is still under way here: stop it first", "in")


def line(record: PacketRecord) -> str:
    tunnel = f"  {record.encapsulation.kind}" if record.encapsulation else ""
    return f"{record.point}  {words.packet(record.inner) if record.inner else record.summary}{tunnel}"
