"""The same network twice: as the testbed makes it, and by the script of plain `ip`, `bridge`, `tc` and
`iptables-restore` commands that `emu plan` prints of it, run in namespaces of its own. Where a daemon brings routes, by
hand the same ones are static. One TCP stream by iperf3 over each bridge, route and tunnel mode, in rounds that
alternate who is first. Root. `python -m bench.byhand [--cases A,B] [--rounds N] [--seconds S]`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from math import inf, sqrt
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.world import NOW
from emu import planners
from emu.api import images
from emu.api import topology as api
from emu.api.load import Loaded
from emu.cli.client import Client
from emu.cli.labclient import LabClient
from emu.cluster.expected import expected
from emu.errors import EmuError
from emu.experiment import measuring
from emu.experiment.comparison import cluster, facts
from emu.experiment.measuring import Run
from emu.experiment.model import Failed, Skipped
from emu.experiment.testbed import Ran
from emu.kernel import programs, sandbox
from emu.main import lab
from emu.plan import render
from emu.plan.model import NetnsPlan, Plan
from emu.report.spread import Spread, spread


class Topology(NamedTuple):
    """`kind` is what carries the packet from Node to Node, or on the one Node there is from Pod to Pod."""

    kind: str
    mode: str
    nodes: int


CASES = {
    "cni0": Topology("bridge", "flannel-vxlan", 1),
    "docker": Topology("bridge", "docker", 1),
    "vm": Topology("bridge", "vm", 2),
    "flannel-host-gw": Topology("route", "flannel-host-gw", 2),
    "calico-bgp": Topology("route", "calico-bgp", 2),
    "aws-vpc": Topology("route", "aws-vpc", 2),
    "flannel-vxlan": Topology("tunnel", "flannel-vxlan", 2),
    "calico-vxlan": Topology("tunnel", "calico-vxlan", 2),
    "calico-ipip": Topology("tunnel", "calico-ipip", 2),
    "canal": Topology("tunnel", "canal", 2),
    "docker-swarm": Topology("tunnel", "docker-swarm", 2),
    "cilium": Topology("tunnel", "cilium", 2),
}
AIM = 0.05
_READY = "made by hand"


@dataclass(frozen=True, slots=True)
class Sample:
    ours_mbit: float
    hand_mbit: float
    ours_processors: float
    hand_processors: float

    @property
    def ratio(self) -> float:
        return self.ours_mbit / self.hand_mbit

    @property
    def effort(self) -> float:
        """How much a second of processors carried, ours beside the other: where others use the machine, a stream is
        slower, and takes hardly more of them."""
        ours, hand = self.ours_mbit / self.ours_processors, self.hand_mbit / self.hand_processors
        return ours / hand


@dataclass(slots=True)
class Case:
    """Both networks, up: how a program is run in each, and the server's address, which is the same."""

    ours: Run
    hand: Run
    address: str
    samples: list[Sample] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of each stream")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid():
        raise SystemExit("bench: root is needed, for namespaces and netfilter")
    cases: dict[str, Case] = {}
    why_not: dict[str, str] = {}
    with ExitStack() as stack:
        for name in options.cases.split(","):
            with told(name, why_not):
                cases[name] = stack.enter_context(both(name, CASES[name]))
        others = measuring.busy()
        for number in range(options.rounds):
            for name in [each for each in cases if each not in why_not]:
                with told(name, why_not):
                    cases[name].samples.append(sample(cases[name], options.seconds, hand_first=bool(number % 2)))
    measured = {name: case for name, case in cases.items() if name not in why_not}
    print(as_json(measured, why_not, others) if options.json else text(measured, why_not, others))


@contextmanager
def told(name: str, why_not: dict[str, str]) -> Iterator[None]:
    """What cannot be measured keeps nothing else from it."""
    try:
        yield
    except (EmuError, Cannot, Failed, Skipped, subprocess.SubprocessError, KeyError) as error:
        why_not[name] = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        print(f"{name}: {why_not[name]}", file=sys.stderr)


class Cannot(Exception):
    """There is no such network to be made by hand here, and why."""


def sample(case: Case, seconds: int, *, hand_first: bool) -> Sample:
    found = {}
    for name in ("hand", "ours") if hand_first else ("ours", "hand"):
        run = case.hand if name == "hand" else case.ours
        found[name] = measuring.throughput(run, cluster.CLIENT, cluster.SERVER, case.address, seconds)
    ours, hand = found["ours"], found["hand"]
    return Sample(ours.mbit, hand.mbit, ours.processors, hand.processors)


@contextmanager
def both(name: str, of: Topology) -> Iterator[Case]:
    topology, manifests = cluster.load_for(of.mode, f"bench-{name}", of.nodes)
    plan = by_itself(topology, manifests)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emu-")))
        stack.enter_context(sandbox.tied(topology.name, directory, lab(topology, manifests)))
        testbed = LabClient(Client(topology.name, directory))
        hand = stack.enter_context(by_hand(render.render(plan), directory))
        yield Case(testbed.run, hand, facts.address(testbed))


def by_itself(topology: api.Topology, manifests: Loaded) -> Plan:
    """The plan with the routes that daemons would bring, and without these."""
    registry = images.load_registry(topology.images)
    resolved = expected(topology, manifests.objects, registry, NOW, manifests.places)
    plan = planners.build(replace(resolved, ipip_module=programs.has_module()))
    if any(programs.is_tun(link) for space in plan.netns.values() for link in space.links):
        raise Cannot("no such link can be made with `ip` here: the ipip module is not loaded, eBPF stands for it")
    return replace(plan, netns={key: _static(space) for key, space in plan.netns.items()})


def _static(space: NetnsPlan) -> NetnsPlan:
    return replace(space, routes=(*space.routes, *(each.route for each in space.expected)), expected=(), daemons=())


@contextmanager
def by_hand(script: str, directory: Path) -> Iterator[Run]:
    """A shell, in namespaces that end with it, that has run the script; what runs programs there."""
    file = directory / "commands.sh"
    file.write_text(script)
    made = f"mount -t tmpfs none /run && bash {file} >/dev/null && echo {_READY} && exec sleep infinity"
    # unshare's child is the first process of the PID namespace: killed with unshare, and all others with it.
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", made]
    file.chmod(0o700)
    errors = directory / "errors"
    with errors.open("w") as said, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said, text=True) as shell:
        try:
            assert shell.stdout is not None
            if _READY not in shell.stdout.readline():
                shell.wait()
                raise Cannot(f"the script failed: {errors.read_text().strip()[-300:]}")
            yield _runs_beside(_child(shell.pid))
        finally:
            shell.kill()


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _runs_beside(pid: int) -> Run:
    def run(where: str, argv: Sequence[str], timeout_s: float) -> Ran:
        enter = ["nsenter", f"--target={pid}", "--net", "--mount", "--pid", "ip", "netns", "exec"]
        done = subprocess.run(
            [*enter, where.replace("/", "."), *argv], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def ratios(case: Case) -> Spread:
    return spread([each.ratio for each in case.samples])


def efforts(case: Case) -> Spread:
    return spread([each.effort for each in case.samples])


def verdict(case: Case) -> str:
    """By the throughput; where its rounds differ too much, by what a second of processors carried."""
    for of, what in ((ratios(case), ""), (efforts(case), ", by processors' time")):
        unsure, off = _unsure(of), abs(1 - of.median)
        if unsure <= AIM and (off <= AIM or off > AIM + unsure):
            return ("met" if off <= AIM else "MISSED") + what
    return f"not to be told, the rounds differ too much (± {unsure:.0%}): more of them, on a quieter machine"


def _unsure(of: Spread) -> float:
    """1.25 is what a median is less sure than a mean."""
    return 1.25 * of.deviation / sqrt(of.count) if of.count > 1 else inf


def text(cases: dict[str, Case], why_not: dict[str, str], others: float) -> str:
    rounds = max((len(case.samples) for case in cases.values()), default=0)
    head = f"one TCP stream, by iperf3; median of {rounds} rounds that alternate; "
    lines = [head + f"{os.cpu_count()} CPUs, of which others used {others:.0%}"]
    for name, case in cases.items():
        ours, hand = (median(getattr(each, key) for each in case.samples) for key in ("ours_mbit", "hand_mbit"))
        of, effort = ratios(case), efforts(case)
        lines.append(
            f"  {CASES[name].kind:6} {name:15} {ours:8,.0f} Mbit/s  by hand {hand:8,.0f} Mbit/s  ratio {of.median:.2f} "
            f"({of.least:.2f}–{of.most:.2f}), by processors' time {effort.median:.2f} "
            f"({effort.least:.2f}–{effort.most:.2f})  within {AIM:.0%}: {verdict(case)}"
        )
    lines += [
        f"  {CASES[each].kind if each in CASES else '':6} {each:15} cannot: {why}" for each, why in why_not.items()
    ]
    return "\n".join(lines)


def as_json(cases: dict[str, Case], why_not: dict[str, str], others: float) -> str:
    measured = {
        name: {
            "ratio": ratios(case).figures(),
            "effort": efforts(case).figures(),
            "rounds": [asdict(each) for each in case.samples],
        }
        for name, case in cases.items()
    }
    return json.dumps({"others": others, "cases": measured, "cannot": why_not}, indent=1)


if __name__ == "__main__":
    main()
