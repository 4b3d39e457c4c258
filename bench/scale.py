"""Many Nodes in every CNI mode: what making its network takes beside the floor of the same objects, and a whole lab
from files to everything ready. BGP daemons are timed apart. Root.
`python -m bench.scale [--modes A,B] [--nodes N] [--pods N]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import bench, floor, planfloor, sandboxed, world
from emu import planners
from emu.api import images, load
from emu.cluster.expected import expected
from emu.errors import EmuError
from emu.experiment import measuring
from emu.plan.model import Plan
from emu.planners.cni import MODES

AIM, CONVERGED_S, ROUNDS = 3.0, 20.0, 2
SERVICES = 10  # of ten Pods each: it is links, not rules, that this is about
MESH = 50  # Nodes: above it, BGP modes want route reflectors
REFLECTORS = "route_reflectors: [node1, node2]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    mode: str
    why_not: str = ""
    objects: int = 0
    floor_s: float = 0
    apply_s: float = 0
    floor_cpu_s: float = 0
    apply_cpu_s: float = 0
    ready_s: float = 0
    ready_cpu_s: float = 0
    laps: dict[str, float] | None = None

    @property
    def ratio(self) -> float:
        return self.apply_s / self.floor_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modes", default=",".join(mode.NAME for mode in MODES))
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--pods", type=int, default=10, help="on each Node")
    parser.add_argument("--links-alone", action="store_true", help="no whole labs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid():
        raise SystemExit("bench: root is needed, for namespaces and netfilter")
    others = measuring.busy()
    found = []
    for mode in options.modes.split(","):
        found.append(scaled(mode, options.nodes, options.pods, whole=not options.links_alone))
        print(line(found[-1]), file=sys.stderr, flush=True)
    told = {"others": others, "nodes": options.nodes, "pods": options.pods, "modes": [asdict(each) for each in found]}
    print(json.dumps(told, indent=1) if options.json else text(found, others, options.nodes, options.pods))


def scaled(mode: str, nodes: int, pods: int, *, whole: bool) -> Scaled:
    with tempfile.TemporaryDirectory() as directory:
        try:
            plan = planned(Path(directory), mode, nodes, pods)
        except EmuError as error:
            return Scaled(mode=mode, why_not=str(error).replace("\n", " "))
        bare = planfloor.bare(plan)
        floors = [sandboxed.cost(lambda: planfloor.floor(bare)) for _ in range(ROUNDS)]
        applied = [sandboxed.cost(lambda: floor.applied(bare)) for _ in range(ROUNDS)]
        lab: dict[str, Any] = bench.lab_of(Path(directory), changes=0) if whole else {}
    return Scaled(
        mode=mode,
        objects=planfloor.objects(bare),
        floor_s=min(cost.wall_s for cost in floors),
        apply_s=min(cost.wall_s for cost in applied),
        floor_cpu_s=min(cost.user_s + cost.system_s for cost in floors),
        apply_cpu_s=min(cost.user_s + cost.system_s for cost in applied),
        ready_s=lab.get("ready_s", 0),
        ready_cpu_s=lab.get("user_s", 0) + lab.get("system_s", 0),
        laps=lab.get("laps"),
    )


def planned(directory: Path, mode: str, nodes: int, pods: int) -> Plan:
    """The files of the cluster, too."""
    total = nodes * pods
    options = REFLECTORS if nodes > MESH and mode in BGP else ""
    alone = max(total // 10, SERVICES) - SERVICES
    world.write(directory, nodes=nodes, pods=total, services=SERVICES, alone=alone, cni=mode, options=options)
    topology, loaded = load.testbed(directory, planners.check)
    registry = images.load_registry(topology.images)
    cluster = expected(topology, loaded.objects, registry, world.NOW, loaded.places)
    return planners.build(cluster)


#: Whose daemons speak BGP.
BGP = ("calico-bgp", "calico-ipip")


def line(of: Scaled) -> str:
    if of.why_not:
        return f"  {of.mode:16} cannot: {of.why_not}"
    laps = of.laps or {}
    told = (
        f"  {of.mode:16} {of.objects:7,} objects  floor {of.floor_s:6.2f} s  made in {of.apply_s:6.2f} s  "
        f"({of.floor_cpu_s:.2f}, {of.apply_cpu_s:.2f} of CPUs)  "
        f"{of.ratio:4.2f}x ≤ {AIM:g}x {'met' if of.ratio <= AIM else 'MISSED'}"
    )
    if of.ready_s:
        told += f"  whole lab {of.ready_s:5.1f} s ({of.ready_cpu_s:.1f} of CPUs)"
        if (seconds := laps.get("up: daemons awaited", 0)) > 0.01:
            told += f", BGP's {seconds:.1f} s of it ≤ {CONVERGED_S:g} s {'met' if seconds <= CONVERGED_S else 'MISSED'}"
    return told


def text(found: list[Scaled], others: float, nodes: int, pods: int) -> str:
    head = f"{nodes} Nodes with {pods} Pods each; {os.cpu_count()} CPUs, of which others used {others:.0%}"
    lines = [head, *map(line, found)]
    for each in found:
        if each.laps:
            laps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in each.laps.items() if seconds >= 0.01)
            lines.append(f"  {each.mode:16} s: {laps}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
