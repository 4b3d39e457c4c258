"""Many Nodes in every CNI mode: what making its network takes beside the floor of the same objects (`planfloor`), and a
whole lab from files to everything ready. BGP daemons and CNI plugins are timed apart. Root.
`python -m bench.scale [--modes A,B] [--nodes N] [--pods N]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from bench import bench, networks, planfloor, sandboxed, world
from emu import planners
from emu.api import images, load
from emu.cluster.expected import expected
from emu.errors import EmuError
from emu.experiment import measuring
from emu.kernel import programs
from emu.plan.model import Plan

AIM, CONVERGED_S, ROUNDS, QUIET = 3.0, 20.0, 2, 0.1
SERVICES = 10  # of ten Pods each: it is links, not rules, that this is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    mode: str
    why_not: str = ""
    others: float = 0  # share of the CPUs in use by others, before
    objects: int = 0
    floor_s: float = 0
    apply_s: float = 0
    floor_cpu_s: float = 0
    apply_cpu_s: float = 0
    ready_s: float = 0
    ready_cpu_s: float = 0
    children_s: float = 0  # of CPUs: programs of others that have run and ended
    laps: dict[str, float] | None = None

    @property
    def ratio(self) -> float:
        return self.apply_s / self.floor_s

    @property
    def cpu_ratio(self) -> float:
        return self.apply_cpu_s / self.floor_cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modes", default=",".join(networks.NAMES))
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--pods", type=int, default=10, help="on each Node")
    parser.add_argument("--links-alone", action="store_true", help="no whole labs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid():
        raise SystemExit("bench: root is needed, for namespaces and netfilter")
    found = []
    for mode in options.modes.split(","):
        found.append(attempted(mode, options.nodes, options.pods, whole=not options.links_alone))
        print(line(found[-1]), file=sys.stderr, flush=True)
    told = {"nodes": options.nodes, "pods": options.pods, "modes": [asdict(each) for each in found]}
    print(json.dumps(told, indent=1) if options.json else text(found, options.nodes, options.pods))


def attempted(mode: str, nodes: int, pods: int, *, whole: bool) -> Scaled:
    """One that cannot be measured says why, and keeps no other from it."""
    try:
        return scaled(mode, nodes, pods, whole=whole)
    except (EmuError, sandboxed.Failed) as error:
        return Scaled(mode=mode, why_not=str(error).replace("\n", " "))


def scaled(mode: str, nodes: int, pods: int, *, whole: bool) -> Scaled:
    """Rounds alternate: what disturbs the machine for a while disturbs both."""
    others = measuring.busy()
    with tempfile.TemporaryDirectory() as directory:
        bare = planfloor.bare(planned(Path(directory), mode, nodes, pods))
        floors, applied = [], []
        for _ in range(ROUNDS):
            floors.append(sandboxed.call(lambda: planfloor.floor(bare)))
            applied.append(sandboxed.call(lambda: planfloor.applied(bare)))
        lab: dict[str, Any] = bench.lab_of(Path(directory), changes=0) if whole else {}
    return Scaled(
        mode=mode,
        others=others,
        objects=planfloor.objects(bare),
        floor_s=min(cost.wall_s for cost in floors),
        apply_s=min(cost.wall_s for cost in applied),
        floor_cpu_s=min(cost.cpu_s for cost in floors),
        apply_cpu_s=min(cost.cpu_s for cost in applied),
        ready_s=lab.get("ready_s", 0),
        ready_cpu_s=lab.get("user_s", 0) + lab.get("system_s", 0),
        children_s=lab.get("children_s", 0),
        laps=lab.get("laps"),
    )


def planned(directory: Path, mode: str, nodes: int, pods: int) -> Plan:
    """The files of the cluster, too."""
    total = nodes * pods
    alone = max(total // 10, SERVICES) - SERVICES
    world.write(directory, nodes=nodes, pods=total, services=SERVICES, alone=alone, network=mode)
    topology, loaded = load.testbed(directory, planners.check)
    registry = images.load_registry(topology.images)
    cluster = expected(topology, loaded.objects, registry, world.NOW, loaded.places)
    return planners.build(replace(cluster, ipip_module=programs.has_module()))


#: What is not ours is told apart: whose, the lap it is in, and how long it may take.
APART = (("BGP", "up: daemons awaited", CONVERGED_S), ("CNI plugins", "apply: CNI plugins", None))


def line(of: Scaled) -> str:
    if of.why_not:
        return f"  {of.mode:15} cannot: {of.why_not}"
    told = (
        f"  {of.mode:15} {of.objects:7,} objects  floor {of.floor_s:5.2f} s ({of.floor_cpu_s:.2f} of CPUs)  "
        f"made in {of.apply_s:5.2f} s ({of.apply_cpu_s:.2f})  "
        f"{of.ratio:4.2f}x ({of.cpu_ratio:.2f}x) ≤ {AIM:g}x {verdict(of)}"
    )
    if of.ready_s:
        told += f"  whole lab {of.ready_s:5.1f} s ({of.ready_cpu_s:.1f} of CPUs, {of.children_s:.1f} by programs)"
    for whose, lap, limit_s in APART:
        seconds = (of.laps or {}).get(lap, 0)
        if seconds > 0.01:
            told += f", of it {whose} {seconds:.1f} s"
            told += f" ≤ {limit_s:g} s {_met(seconds <= limit_s)}" if limit_s else ""
    return told


def verdict(of: Scaled) -> str:
    """Where others use the machine, the clock tells of them; what the CPUs had to do is still told."""
    if of.ratio > AIM >= of.cpu_ratio and of.others > QUIET:
        return f"by the CPUs' time; the clock cannot tell, others used {of.others:.0%}"
    return _met(of.ratio <= AIM)


def _met(so: bool) -> str:
    return "met" if so else "MISSED"


def text(found: list[Scaled], nodes: int, pods: int) -> str:
    others = mean(each.others for each in found)
    head = f"{nodes} Nodes with {pods} Pods each; {os.cpu_count()} CPUs, of which others used {others:.0%}"
    lines = [head, *map(line, found)]
    for each in found:
        if each.laps:
            laps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in each.laps.items() if seconds >= 0.01)
            lines.append(f"  {each.mode:16} s: {laps}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
