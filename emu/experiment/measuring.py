"""Measurements by the programs people know, run in the Pods, and what such a figure hangs on."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emu.experiment.model import Failed, Skipped
from emu.experiment.testbed import Ran

#: (where, argv, the longest it may take in seconds)
Run = Callable[[str, Sequence[str], float], Ran]

PORT, _TRIES = "5201", 50  # iperf3's


@dataclass(frozen=True, slots=True)
class Throughput:
    """One TCP stream: the mean of all of it as the receiver had it, tenths of a second, segments sent again, and the
    processors' time that both ends had for it, the kernel's way with the packets in it."""

    mbit: float
    tenths_mbit: tuple[float, ...]
    retransmissions: int
    processors: float = 0.0  # busy with it, on the average


@dataclass(frozen=True, slots=True)
class Interface:
    mtu: int
    qdisc: str
    sent_bytes: int
    sent_frames: int  # a frame that is still to be cut (GSO) is one


def latencies_us(run: Run, source: str, address: str, count: int) -> list[float]:
    """Echo requests, a hundredth of a second apart; all must be answered."""
    argv = ["ping", "-n", "-c", str(count), "-i", "0.01", "-W", "1", address]
    ran = run(source, argv, count + 5)
    values = [float(each) * 1000 for each in re.findall(r"time=([\d.]+) ms", ran.out)]
    if len(values) < count:
        raise Failed(f"{count} answers", str(len(values)), ran.out + ran.err)
    return values


def throughput(run: Run, source: str, target: str, address: str, seconds: int) -> Throughput:
    """iperf3 from one Pod to another, whose address is this. Raises Skipped where it is not installed."""
    if run(target, ["sh", "-c", f"command -v iperf3 >/dev/null && iperf3 -s -1 -D -p {PORT}"], 10).status:
        raise Skipped("iperf3 is not installed (apt-get install iperf3)")
    argv = ["iperf3", "-c", address, "-p", PORT, "-J", "-t", str(seconds), "-i", "0.1"]
    ran = run(source, argv, seconds + 10)
    for _ in range(_TRIES):  # `iperf3 -D` returns before it listens
        if "Connection refused" not in ran.out + ran.err:
            break
        ran = run(source, argv, seconds + 10)
    if ran.status:
        raise Failed("iperf3 to run", f"exit status {ran.status}", ran.out + ran.err)
    return parsed_throughput(ran.out)


def parsed_throughput(text: str) -> Throughput:
    """What `iperf3 -J` prints."""
    told = json.loads(text)
    used = told["end"].get("cpu_utilization_percent", {})
    return Throughput(
        mbit=told["end"]["sum_received"]["bits_per_second"] / 1e6,
        tenths_mbit=tuple(each["sum"]["bits_per_second"] / 1e6 for each in told["intervals"]),
        retransmissions=told["end"]["sum_sent"].get("retransmits", 0),
        processors=(used.get("host_total", 0.0) + used.get("remote_total", 0.0)) / 100,
    )


def interface(run: Run, where: str, name: str) -> Interface:
    """As `ip -s link` tells it."""
    ran = run(where, ["ip", "-j", "-s", "link", "show", "dev", name], 10)
    if ran.status:
        raise Failed(f"an interface {name} in {where}", f"exit status {ran.status}", ran.out + ran.err)
    told = json.loads(ran.out)[0]
    sent = told["stats64"]["tx"]
    return Interface(told["mtu"], told["qdisc"], sent["bytes"], sent["packets"])


def load() -> float:
    """Processes that ran or waited for a processor, the last minute's mean."""
    return os.getloadavg()[0]


def busy(seconds: float = 0.5) -> float:
    """The share of the processors in use: by others, if nothing is measured meanwhile."""
    before = _processor_times()
    time.sleep(seconds)
    spent = [after - first for after, first in zip(_processor_times(), before, strict=True)]
    return 1 - (spent[3] + spent[4]) / sum(spent)  # idle, and waiting for a disk


def _processor_times() -> list[int]:
    """Of all of them, by kind, as proc(5) has them."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
