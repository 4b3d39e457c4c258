"""`make bench`: what a testbed of 20 Nodes, 1,000 Pods and 100 Services costs, part by part, beside what bounds it.

Everything runs in sandboxes of its own, so the machine is not touched. Rounds are interleaved: what disturbs the
machine for a while disturbs all parts. Root. `python -m bench.bench [--rounds N] [--json]`."""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import floor, hosts, report, rules, sandboxed, stages, world
from bench.report import Samples
from emu.experiment import measuring
from emu.plan.model import Plan

AT_ONCE = 16 * (os.cpu_count() or 1)  # as many as emu starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="all samples and rows, as JSON")
    options = parser.parse_args()
    if os.geteuid():
        raise SystemExit("bench: root is needed, for namespaces and netfilter")
    samples: Samples = {}
    plan = stages.Stages().plan
    for number in range(options.rounds):
        for part, sample in one_round(plan, first=number == 0):
            print(f"round {number + 1} of {options.rounds}: {part}", file=sys.stderr)
            samples.setdefault(part, []).append(sample)
    print(report.as_json(samples) if options.json else report.text(samples))


def one_round(plan: Plan, first: bool) -> Iterable[tuple[str, Any]]:
    nodes, pods = world.NODES, world.PODS // world.NODES
    yield "others", measuring.busy()
    yield "floor", sandboxed.cost(lambda: floor.floor(nodes, pods))
    yield "links", sandboxed.cost(lambda: floor.applied(floor.plan(nodes, pods)))
    bare = stages.without_rules(plan)
    yield "cluster links", sandboxed.cost(lambda: floor.applied(bare))
    texts = {name: stages.rules(plan, name) for name in stages.node_names(plan)}
    yield "bare rules", sandboxed.cost(lambda: rules.bare(texts, AT_ONCE))
    yield "bare rules, one per core", sandboxed.cost(lambda: rules.bare(texts, os.cpu_count() or 1))
    yield "rules", sandboxed.cost(lambda: rules.applied(plan))
    yield "Mininet", sandboxed.cost(lambda: hosts.made(world.NODES + world.PODS))
    yield "stages", json.loads(subprocess.check_output([sys.executable, "-m", "bench.stages"]))
    yield "lab", lab(world.PODS, world.SERVICES)
    if first:
        yield "empty lab", lab(0, 0)


def lab(pods: int, services: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        world.write(Path(directory), pods=pods, services=services)
        return lab_of(Path(directory))


def lab_of(directory: Path, changes: int = 6, limit_s: float = 300) -> dict[str, Any]:
    """What `bench.lab` has measured. Raises Failed."""
    before = sandboxed.namespaces()
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "bench.lab", str(directory), str(writer), str(changes)]
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, pass_fds=[writer], stderr=said) as process, os.fdopen(reader) as stream:
            os.close(writer)
            try:
                raw = stream.read() if select.select([stream], [], [], limit_s)[0] else ""
            finally:
                process.kill()
        said.seek(0)
        last = "; ".join([line.strip() for line in said if line.strip()][-2:])
    sandboxed.until_gone(before)
    if not raw:
        raise sandboxed.Failed(f"the lab did not come up within {limit_s:g} s: {last}")
    result: dict[str, Any] = json.loads(raw)
    return result


if __name__ == "__main__":
    main()
