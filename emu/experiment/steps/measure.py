"""`measure`: latency (ping), connect (TCP connections) or throughput (iperf3, where it is installed). The spread is
told with each figure, and beside it what it hangs on: the machine's load and processors, the qdisc and the MTU."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment import statistics
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said, Skipped
from emu.experiment.world import World

UNITS = {"latency": "us", "connect": "us", "throughput": "mbit"}
_PORT, _TRIES = "5201", 50  # iperf3's


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
        before = os.getloadavg()[0]
        values = {"latency": self._latency, "connect": self._connect, "throughput": self._throughput}[self.what](
            lab, source
        )
        unit = UNITS[self.what]
        spread = statistics.spread(values)
        text = "\n".join((statistics.shown(spread, unit), _circumstances(lab, source, before)))
        if self.at_most_us and spread.median > self.at_most_us:
            raise Failed(f"a median of at most {self.at_most_us} us", f"{spread.median:.0f} us", text)
        if self.at_least_mbit and spread.median < self.at_least_mbit:
            raise Failed(f"a median of at least {self.at_least_mbit} mbit", f"{spread.median:.0f} mbit", text)
        return Said(text=text, numbers={f"{name}_{unit}": value for name, value in spread.figures().items()})

    def _latency(self, lab: Lab, source: str) -> list[float]:
        argv = ["ping", "-n", "-c", str(self.count), "-i", "0.01", "-W", "1", lab.address(self.to)]
        ran = lab.run(source, argv, self.count + 5)
        values = [float(each) * 1000 for each in re.findall(r"time=([\d.]+) ms", ran.out)]
        if len(values) < self.count:
            raise Failed(f"{self.count} answers", str(len(values)), ran.out + ran.err)
        return values

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
        target = lab.where(self.to)
        if lab.run(target, ["sh", "-c", f"command -v iperf3 >/dev/null && iperf3 -s -1 -D -p {_PORT}"]).status:
            raise Skipped("iperf3 is not installed (apt-get install iperf3)")
        seconds = -(-self.count // 10)
        address = lab.address(self.to)
        argv = ["iperf3", "-c", address, "-p", _PORT, "-J", "-t", str(seconds), "-i", "0.1"]
        ran = lab.run(source, argv, seconds + 10)
        for _ in range(_TRIES):  # `iperf3 -D` returns before it listens
            if "Connection refused" not in ran.out + ran.err:
                break
            ran = lab.run(source, argv, seconds + 10)
        if ran.status:
            raise Failed("iperf3 to run", f"exit status {ran.status}", ran.out + ran.err)
        return [each["sum"]["bits_per_second"] / 1e6 for each in json.loads(ran.out)["intervals"]]


def _circumstances(lab: Lab, source: str, load_before: float) -> str:
    shown: Sequence[str] = lab.run(source, ["ip", "-o", "link", "show", "dev", "eth0"]).out.split()
    settings = {name: shown[shown.index(name) + 1] for name in ("qdisc", "mtu") if name in shown}
    link = ", ".join(f"{name} {value}" for name, value in settings.items())
    load = f"load {load_before:.2f} before and {os.getloadavg()[0]:.2f} after on {os.cpu_count()} processors"
    return f"{source}:eth0 {link}; {load}"
