"""`measure`: latency (ping), connect (TCP connections) or throughput (iperf3, where it is installed). The spread is
told with each figure, and beside it what it hangs on: the machine's load and processors, the qdisc and the MTU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment import measuring
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.world import World
from emu.report import spread

UNITS = {"latency": "us", "connect": "us", "throughput": "mbit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    NAME: ClassVar = "measure"
    SHORT: ClassVar = ""
    what: str  # latency, connect, throughput
    source: str = json_name("from")
    to: str  # connect: a URL, as of request; throughput: a Pod
    count: int = 20  # pings, connections, or tenths of a second
    at_most_us: int = json_name("at_most_us", default=0)  # of the median; 0: whatever it is
    at_least_mbit: int = json_name("at_least_mbit", default=0)

    def title(self) -> str:
        return f"measure {self.what} {self.source} → {self.to}"

    def foresee(self, world: World) -> None:
        if self.what not in UNITS:
            raise Wrong(f"is {self.what}, must be {', '.join(UNITS)}", "what")
        world.where(self.source, "from")
        if self.what == "throughput":
            world.where(self.to, "to")
        elif self.what == "latency":
            world.target(self.to, "to")
        else:
            world.url(self.to, "to")
        if not 2 <= self.count <= 1000:
            raise Wrong(f"is {self.count}, must be 2-1000", "count")

    def run(self, lab: Lab) -> Said:
        source = lab.where(self.source)
        before = measuring.load()
        values = {"latency": self._latency, "connect": self._connect, "throughput": self._throughput}[self.what](
            lab, source
        )
        unit = UNITS[self.what]
        measured = spread.spread(values)
        text = "\n".join((spread.shown(measured, unit), _circumstances(lab, source, before)))
        if self.at_most_us and measured.median > self.at_most_us:
            raise Failed(f"a median of at most {self.at_most_us} us", f"{measured.median:.0f} us", text)
        if self.at_least_mbit and measured.median < self.at_least_mbit:
            raise Failed(f"a median of at least {self.at_least_mbit} mbit", f"{measured.median:.0f} mbit", text)
        return Said(text=text, numbers={f"{name}_{unit}": value for name, value in measured.figures().items()})

    def _latency(self, lab: Lab, source: str) -> list[float]:
        return measuring.latencies_us(lab.run, source, lab.address(self.to), self.count)

    def _connect(self, lab: Lab, source: str) -> list[float]:
        """Without the time the name took."""
        form = "%{time_connect} %{time_namelookup}\\n"
        argv = ["curl", "-s", "--max-time", "2", "-H", "Connection: close", "-w", form]
        urls = [word for _ in range(self.count) for word in ("-o", "/dev/null", lab.url(self.to))]
        ran = lab.run(source, [*argv, *urls], self.count * 2 + 5)
        pairs = [line.split() for line in ran.out.splitlines()]
        values = [(float(connected) - float(named)) * 1e6 for connected, named in pairs if float(connected)]
        if len(values) < self.count:
            raise Failed(f"{self.count} connections", str(len(values)), ran.err)
        return values

    def _throughput(self, lab: Lab, source: str) -> list[float]:
        target, seconds = lab.where(self.to), -(-self.count // 10)
        return list(measuring.throughput(lab.run, source, target, lab.address(self.to), seconds).tenths_mbit)


def _circumstances(lab: Lab, source: str, load_before: float) -> str:
    link = measuring.interface(lab.run, source, "eth0")
    load = f"load {load_before:.2f} before and {measuring.load():.2f} after on {os.cpu_count()} processors"
    return f"{source}:eth0 qdisc {link.qdisc}, mtu {link.mtu}; {load}"
