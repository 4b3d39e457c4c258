"""`expect queries`: the names that were asked of DNS in a stopped capture, in their order, and how many queries it
took. The C library asks for A and AAAA at once, in either order: names are compared, each with its types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.capture import decode, pcapng
from emu.capture.frame import Frame
from emu.capture.ip import ethernet, ip
from emu.dnsserver import wire
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.steps.expect_packets import stopped
from emu.experiment.world import World, fits

DNS_PORT, UDP_HEADER = 53, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectQueries:
    NAME: ClassVar = "expect queries"
    SHORT: ClassVar = ""
    where: str = json_name("in")  # the capture's name
    at: str  # one interface, or each query is counted at every hop: client:eth0
    names: tuple[str, ...] = ()  # all that are asked, in this order
    count: int | None = None

    def title(self) -> str:
        return f"expect {'' if self.count is None else f'{self.count} '}queries in capture {self.where}"

    def foresee(self, world: World) -> None:
        stopped(world, self.where)
        world.point(self.at, "at")
        if not self.names and self.count is None:
            raise Wrong("has neither names nor a count")

    def run(self, lab: Lab) -> Said:
        queries = list(self._queries(lab))
        asked: dict[str, list[str]] = {}
        for query in queries:
            asked.setdefault(query.name.removesuffix("."), []).append(query.type)
        shown = "\n".join(f"{' '.join(sorted(types)):8} {name}" for name, types in asked.items())
        if self.names and list(asked) != [each.removesuffix(".") for each in self.names]:
            raise Failed(f"queries for {', '.join(self.names)}", ", ".join(asked) or "none", shown)
        if self.count is not None and len(queries) != self.count:
            raise Failed(f"{self.count} queries", str(len(queries)), shown)
        return Said(text=shown, numbers={"queries": len(queries)})

    def _queries(self, lab: Lab) -> Iterator[wire.Query]:
        for frame in pcapng.read(lab.files[self.where]).frames:
            if not fits(frame.point, self.at):
                continue
            inner = decode.decode(frame).inner
            if inner and inner.proto == "udp" and inner.dport == DNS_PORT:
                yield wire.decode(_payload(frame))


def _payload(frame: Frame) -> bytes:
    """Of a UDP packet that is in no tunnel."""
    link = ethernet(frame.data)
    packet = ip(link.payload) if link else None
    return packet.payload[UDP_HEADER:] if packet else b""
