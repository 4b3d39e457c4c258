"""The same network twice: as the testbed makes it, and by the script of plain `ip`, `bridge` and `iptables-restore`
commands that `emu plan` prints of it, run in namespaces of its own. A bridge, a route and a tunnel: one TCP stream by
iperf3 over each, in rounds that alternate who is first. Root. `python -m bench.byhand [--rounds N] [--seconds S]`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from statistics import median

from emu.cli.client import Client
from emu.cli.labclient import LabClient
from emu.experiment import measuring
from emu.experiment.comparison import cluster, facts
from emu.experiment.measuring import Run
from emu.experiment.testbed import Ran
from emu.kernel import sandbox
from emu.main import lab
from emu.report.spread import Spread, spread

#: name → (CNI mode, Nodes): on one Node, client and server are ports of one bridge.
CASES = {"bridge": ("flannel-vxlan", 1), "route": ("flannel-host-gw", 2), "tunnel": ("flannel-vxlan", 2)}
AIM = 0.05
_READY = "made by hand"


@dataclass(frozen=True, slots=True)
class Sample:
    ours_mbit: float
    hand_mbit: float

    @property
    def ratio(self) -> float:
        return self.ours_mbit / self.hand_mbit


@dataclass(slots=True)
class Case:
    """Both networks, up: how a program is run in each, and the server's address, which is the same."""

    ours: Run
    hand: Run
    address: str
    samples: list[Sample] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of each stream")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid():
        raise SystemExit("bench: root is needed, for namespaces and netfilter")
    with ExitStack() as stack:
        cases = {name: stack.enter_context(both(name, *of)) for name, of in CASES.items()}
        others = measuring.busy()
        for number in range(options.rounds):
            for case in cases.values():
                case.samples.append(sample(case, options.seconds, hand_first=bool(number % 2)))
    print(as_json(cases, others) if options.json else text(cases, others))


def sample(case: Case, seconds: int, *, hand_first: bool) -> Sample:
    found = {}
    for name in ("hand", "ours") if hand_first else ("ours", "hand"):
        run = case.hand if name == "hand" else case.ours
        found[name] = measuring.throughput(run, cluster.CLIENT, cluster.SERVER, case.address, seconds).mbit
    return Sample(found["ours"], found["hand"])


@contextmanager
def both(name: str, mode: str, nodes: int) -> Iterator[Case]:
    topology, manifests = cluster.load_for(mode, f"bench-{name}", nodes)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emu-")))
        stack.enter_context(sandbox.tied(topology.name, directory, lab(topology, manifests)))
        testbed = LabClient(Client(topology.name, directory))
        hand = stack.enter_context(by_hand(testbed.script(), directory))
        yield Case(testbed.run, hand, facts.address(testbed))


@contextmanager
def by_hand(script: str, directory: Path) -> Iterator[Run]:
    """A shell, in namespaces that end with it, that has run the script; what runs programs there."""
    file = directory / "commands.sh"
    file.write_text(script)
    made = f"mount -t tmpfs none /run && bash {file} >/dev/null && echo {_READY} && exec sleep infinity"
    # unshare's child is the first process of the PID namespace: killed with unshare, and all others with it.
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", made]
    file.chmod(0o700)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as shell:
        try:
            assert shell.stdout is not None
            if _READY not in (told := shell.stdout.readline()):
                raise SystemExit(f"bench: the script of {directory.name} failed: {told}")
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


def verdict(of: Spread) -> str:
    """1.25 is what a median is less sure than a mean. Where that is more than the aim, this run cannot tell."""
    unsure = 1.25 * of.deviation / sqrt(of.count)
    if unsure > AIM:
        return f"not to be told, the rounds differ too much (± {unsure:.0%}): more of them, on a quieter machine"
    return "met" if abs(1 - of.median) <= AIM else "MISSED"


def text(cases: dict[str, Case], others: float) -> str:
    rounds = len(next(iter(cases.values())).samples)
    head = f"one TCP stream, by iperf3; median of {rounds} rounds that alternate; "
    lines = [head + f"{os.cpu_count()} CPUs, of which others used {others:.0%}"]
    for name, case in cases.items():
        ours, hand = (median(getattr(each, key) for each in case.samples) for key in ("ours_mbit", "hand_mbit"))
        of = ratios(case)
        lines.append(
            f"  {name:8} {ours:8,.0f} Mbit/s  by hand {hand:8,.0f} Mbit/s  ratio {of.median:.2f} "
            f"({of.least:.2f}–{of.most:.2f})  within {AIM:.0%}: {verdict(of)}"
        )
    return "\n".join(lines)


def as_json(cases: dict[str, Case], others: float) -> str:
    told = {
        name: {"ratio": ratios(case).figures(), "rounds": [asdict(each) for each in case.samples]}
        for name, case in cases.items()
    }
    return json.dumps({"others": others, "cases": told}, indent=1)


if __name__ == "__main__":
    main()
