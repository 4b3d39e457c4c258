"""Samples → rows → a table or JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from statistics import median
from typing import Any

from bench import world

Samples = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """`beside` is what it is compared with; `aim` is in the row's unit, or a ratio when `of_ratio`."""

    part: str
    what: str
    value: float
    unit: str
    beside: float | None = None
    beside_what: str = ""
    aim: float | None = None
    of_ratio: bool = False
    bound: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.beside if self.beside else None

    @property
    def met(self) -> bool | None:
        """None without an aim."""
        reached = self.ratio if self.of_ratio else self.value
        return None if self.aim is None or reached is None else reached <= self.aim


def rows(samples: Samples) -> Iterator[Row]:
    yield from _links(samples)
    yield from _rules(samples)
    yield from _ready(samples)
    yield from _memory(samples)
    yield from _change(samples)
    yield from _stages(samples)


def _links(samples: Samples) -> Iterator[Row]:
    beside = _middle(samples, "floor", lambda cost: cost.wall_s)
    for what, part in (
        ("the floor's objects", "links"),
        ("the cluster's: VXLAN, fabric, sysctls too", "cluster links"),
    ):
        wall_s = _middle(samples, part, lambda cost: cost.wall_s)
        yield Row(
            "namespaces and links", what, wall_s, "s", beside, "hand-packed netlink", 1.7, True, _cpu(samples, part)
        )


def _rules(samples: Samples) -> Iterator[Row]:
    wall_s = _middle(samples, "rules", lambda cost: cost.wall_s)
    for what, part in (("as many at once", "bare rules"), ("one per core at once", "bare rules, one per core")):
        beside = _middle(samples, part, lambda cost: cost.wall_s)
        yield Row("rules", what, wall_s, "s", beside, "iptables-restore", 1.2, True, _cpu(samples, "rules"))


_READY = round(4 / 14, 3)  # 4 s on a machine that needs 14 for the bare hosts


def _ready(samples: Samples) -> Iterator[Row]:
    part = "everything ready"
    hosts = _middle(samples, "Mininet", lambda cost: cost.wall_s)
    ready = _middle(samples, "lab", lambda lab: lab["ready_s"])
    user, system = (_middle(samples, "lab", lambda lab, kind=kind: lab[kind]) for kind in ("user_s", "system_s"))
    bound = f"{user + system:.1f} s CPU time, {system / (user + system):.0%} of it the kernel's"
    yield Row(part, "files to Pods, rules, DNS", ready, "s", hosts, "bare Mininet hosts", _READY, True, bound)
    laps = {lap: _middle(samples, "lab", lambda lab, lap=lap: lab["laps"][lap]) for lap in samples["lab"][0]["laps"]}
    for lap, seconds in laps.items():
        yield Row(part, f"… {lap}", seconds, "s")
    counted = sum(seconds for lap, seconds in laps.items() if ":" not in lap)
    yield Row(part, "… the rest: servers, probes, store", ready - counted, "s")


def _memory(samples: Samples) -> Iterator[Row]:
    whole = _middle(samples, "lab", lambda lab: sum(lab["process_kb"].values()))
    empty = _middle(samples, "empty lab", lambda lab: sum(lab["process_kb"].values()))
    pods = samples["lab"][0]["pods"] - samples["empty lab"][0]["pods"]
    bound = "objects, plan and status as Python values"
    yield Row("memory", "processes, per Pod", (whole - empty) / pods, "KB", aim=50, bound=bound)
    yield Row(
        "memory", f"processes, all, by {pods} Pods", whole / pods, "KB", bound="Python and its libraries, four times"
    )
    yield Row("memory", "… of it an empty lab", empty / pods, "KB")
    for kind in samples["lab"][0]["kernel_kb"]:
        kernel = _middle(samples, "lab", lambda lab, kind=kind: lab["kernel_kb"][kind])
        yield Row("memory", f"kernel, {kind}, per Pod", kernel / pods, "KB")


def _change(samples: Samples) -> Iterator[Row]:
    every = [change for lab in samples["lab"] for change in lab["change"]]
    bound = "one iptables-restore, then the kernel, which validates every Node's whole table"
    yield Row(
        "one endpoint changes", "on every Node", median(each["total"] for each in every), "s", aim=0.15, bound=bound
    )
    for lap in every[0]:
        if lap in ("resolve", "build", "diff", "apply"):
            yield Row("one endpoint changes", f"… {lap}", median(each[lap] for each in every), "s")


def _stages(samples: Samples) -> Iterator[Row]:
    for stage in samples["stages"][0]:
        yield Row("pure stages", stage, _middle(samples, "stages", lambda times, stage=stage: times[stage]), "s")


def _middle(samples: Samples, part: str, value: Callable[[Any], float]) -> float:
    return median(value(sample) for sample in samples[part])


def _cpu(samples: Samples, part: str) -> str:
    user, system = (
        _middle(samples, part, lambda cost, name=name: getattr(cost, name)) for name in ("user_s", "system_s")
    )
    return f"the kernel: {system / (user + system):.0%} of {user + system:.1f} s CPU time"


def text(samples: Samples) -> str:
    rounds = len(samples["lab"])
    others = median(samples["others"])
    head = f"{world.NODES} Nodes, {world.PODS} Pods, {world.SERVICES} Services; median of {rounds} interleaved rounds; "
    lines = [head + f"{os.cpu_count()} CPUs, of which others used {others:.0%}"]
    part = ""
    for row in rows(samples):
        if row.part != part:
            part = row.part
            lines += ["", part]
        lines.append(_line(row).rstrip())
    return "\n".join(lines)


def _line(row: Row) -> str:
    beside = f"{row.beside:6.2f} {row.unit} {row.beside_what}" if row.beside else ""
    ratio = f"{row.ratio:5.2f}x" if row.ratio else ""
    return f"  {row.what:44} {_number(row):>8} {row.unit:2}  {beside:29} {ratio:6} {_aim(row):15} {row.bound}"


def _number(row: Row) -> str:
    return f"{row.value:.3f}" if row.unit == "s" else f"{row.value:.1f}"


def _aim(row: Row) -> str:
    if row.aim is None:
        return ""
    unit = "x" if row.of_ratio else f" {row.unit}"
    return f"≤ {row.aim:.3g}{unit} {'met' if row.met else 'MISSED'}"


def as_json(samples: Samples) -> str:
    table = [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows(samples)]
    return json.dumps({"rows": table, "samples": samples}, default=_plain, indent=1)


def _plain(value: Any) -> Mapping[str, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value))
