"""`emu compare`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emu.cli import output, starting
from emu.cli.main import Context
from emu.cli.progress import Progress
from emu.errors import InputError
from emu.names import digest

if TYPE_CHECKING:
    from emu.experiment.testbed import Testbed

FORMS = ("table", "markdown", "json")
FILES = {"table": "comparison.txt", "markdown": "comparison.md", "json": "comparison.json"}
TESTBED_KB = 400_000  # what a testbed of two Nodes may take while it measures; a Node more is little beside it


@click.command()
@click.option("--modes", metavar="A,B…", help="These CNI modes. Default: all that a name is enough for.")
@click.option("--nodes", default=2, show_default=True, type=click.IntRange(2, 100), help="How many Nodes.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="How often each is visited.")
@click.option("--seconds", default=1, show_default=True, type=click.IntRange(1, 60), help="Of each TCP stream.")
@click.option("--pings", default=50, show_default=True, type=click.IntRange(2, 1000), help="Of each visit.")
@click.option("--apart", is_flag=True, help="One testbed up at a time. Default where memory is short.")
@click.option("--output", "folder", type=click.Path(path_type=Path, file_okay=False), help="Where results are kept.")
@click.option("-o", "form", type=click.Choice(FORMS), default="table", help="How to print it.")
@click.pass_obj
def compare(
    context: Context,
    *,
    modes: str | None,
    nodes: int,
    rounds: int,
    seconds: int,
    pings: int,
    apart: bool,
    folder: Path | None,
    form: str,
) -> int:
    """Run one cluster and one workload over every CNI mode, and tell them side by side.

    In each, a request from a Pod to one on another Node is followed beside its prediction; then, in rounds that
    visit every mode once, latency (ping) and throughput (iperf3, where it is installed) are measured. Table,
    figures, packets and commands stay in captures/runs/compare/.

    \b
    Examples:
      emu compare
      emu compare --modes flannel-vxlan,flannel-host-gw --rounds 5 --seconds 3
      emu compare -o json > modes.json

    \b
    Exit status: 0 every path was as predicted (that a mode fails by design is, too), 1 one was not, 2 an option is
    wrong, 3 this machine can have none of the modes. One that it cannot have is a row that says why.
    """
    from emu.experiment.comparison.rounds import Wanted
    from emu.experiment.comparison.rounds import compare as compared
    from emu.report.comparison import FORMS as REPORTS

    chosen = modes_of(modes)
    together = not apart and len(chosen) * TESTBED_KB < _available_kb()
    wanted = Wanted(modes=chosen, nodes=nodes, rounds=rounds, seconds=seconds, pings=pings, together=together)
    kept = folder or Path("captures", "runs", "compare")
    output.make(kept)
    with ExitStack() as stack, Progress() as progress:
        result = compared(wanted, _visits(context, wanted.nodes, stack if together else None), kept, progress)
    for name, write in REPORTS.items():
        (kept / FILES[name]).write_text(write(result), encoding="utf-8")
    click.echo(REPORTS[form](result), nl=False)
    click.echo(f"kept in {kept}", err=True)
    return 3 if not result.possible else 0 if result.ok else 1


def modes_of(given: str | None) -> tuple[str, ...]:
    from emu.api.cnimodes import cni_mode
    from emu.planners.cni import MODES

    known = [mode.NAME for mode in MODES]
    if given is None:
        return tuple(each for each in known if not cni_mode(each).conflist)
    wanted = [each.strip() for each in given.split(",") if each.strip()]
    if not wanted:
        raise InputError("--modes: names no CNI mode", hint=f"some of: {', '.join(known)}")
    if unknown := [each for each in wanted if each not in known]:
        raise InputError(f"--modes: there is no CNI mode {unknown[0]}", hint=f"one of: {', '.join(known)}")
    return tuple(dict.fromkeys(wanted))


def _visits(context: Context, nodes: int, stack: ExitStack | None) -> Callable[[str], AbstractContextManager[Testbed]]:
    """Testbeds that stay until `stack` ends; without one, each for its visit."""
    there: dict[str, Testbed] = {}

    @contextmanager
    def visit(mode: str) -> Iterator[Testbed]:
        if stack is None:
            with _testbed(context, mode, nodes) as testbed:
                yield testbed
            return
        if mode not in there:
            there[mode] = stack.enter_context(_testbed(context, mode, nodes))
        yield there[mode]

    return visit


@contextmanager
def _testbed(context: Context, mode: str, nodes: int) -> Iterator[Testbed]:
    """One of a name that nobody else uses; it ends with this process, even a killed one. The log of one that came up
    is not kept."""
    from emu.cli.labclient import LabClient
    from emu.cli.testbeds import client
    from emu.experiment.comparison import cluster
    from emu.kernel import runtime_dir

    name = f"compare-{mode}-{digest(os.getpid(), mode).hex()[:6]}"
    loaded = starting.Loaded(*cluster.load_for(mode, name, nodes))
    came_up = False
    try:
        with starting.tied(context, loaded):
            came_up = True
            yield LabClient(client(name))
    finally:
        if came_up:
            runtime_dir.forget(name, runtime_dir.runtime_directory())


def _available_kb() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
