"""`emu run`."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from emu.cli import output, starting
from emu.cli.main import Context
from emu.cli.progress import Progress
from emu.names import digest

if TYPE_CHECKING:
    from emu.experiment.model import Experiment, Result, StepEvent

FORMS = {"json": "result.json", "junit": "junit.xml"}


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--topology", type=click.Path(path_type=Path), help="Another topology than the file names.")
@click.option("--output", "folder", type=click.Path(path_type=Path), help="Where results, captures and the report go.")
@click.option("-o", "form", type=click.Choice(("text", *FORMS)), default="text", help="How to print the result.")
@click.option("--keep", is_flag=True, help="Leave the testbed running afterwards, as the steps left it.")
@click.pass_obj
def run(
    context: Context, *, experiment: Path, topology: Path | None, folder: Path | None, form: str, keep: bool
) -> int:
    """Run an experiment: a YAML file of steps on a topology.

    All of the file is checked before anything is started. The testbed is one of its own, with a name of its own, and
    gone afterwards however the run ends. Results, captures and a report stay in captures/runs/TOPOLOGY/EXPERIMENT/.
    docs/experiments.md has every kind of step.

    \b
    Examples:
      emu run topologies/two-node-flannel-vxlan/experiments/broken-fdb.yaml
      emu run lesson.yaml --output /tmp/lesson -o junit
      emu run lesson.yaml --topology topologies/two-node-flannel-host-gw
      emu run lesson.yaml --keep                     then: emu ls, emu exec, emu down

    \b
    Exit status: 0 every step went well, 1 one did not, 2 a file is wrong, 3 this machine cannot do it.
    """
    from emu.experiment import load

    planned = load.experiment(experiment, topology)
    starting.tell_ignored(planned.manifests.ignored)
    kept = folder or Path("captures", "runs", planned.topology.name, planned.name)
    output.make(kept)
    with _testbed(context, planned, keep) as name:
        result = _run(planned, name, kept, lines=form == "text")
    _report(result, kept, form)
    if keep:
        click.echo(f"testbed {name} stays: emu -t {name} get pods; emu down {name}", err=True)
    return 0 if result.ok else 1


def _run(planned: Experiment, name: str, folder: Path, *, lines: bool) -> Result:
    from emu.cli.labclient import LabClient
    from emu.cli.testbeds import client
    from emu.experiment import runner

    testbed = LabClient(client(name))
    with Progress() as progress:
        result = runner.run(planned, testbed, folder, [_Teller(progress, lines=lines)])
    (folder / "commands.sh").write_text(testbed.script(), encoding="utf-8")
    return result


class _Teller:
    """A listener: steps that have ended on stdout, the one under way on a terminal."""

    def __init__(self, progress: Progress, *, lines: bool) -> None:
        self._progress, self._lines = progress, lines

    def __call__(self, event: StepEvent) -> None:
        from emu.experiment.reports.as_text import step_lines

        if event.result is None:
            self._progress(event.title, event.index, event.total)
        elif self._lines:
            self._progress.clear()
            output.lines(step_lines(event.index + 1, event.result, color=output.color()))


def _report(result: Result, folder: Path, form: str) -> None:
    from emu.experiment.reports import REPORTS
    from emu.experiment.reports.as_text import summary

    for name, write in REPORTS.items():
        (folder / name).write_text(write(result), encoding="utf-8")
    if form == "text":
        click.echo(f"{summary(result)}\n{folder / 'report.html'}")
    else:
        click.echo((folder / FORMS[form]).read_text(encoding="utf-8"), nl=False)


@contextmanager
def _testbed(context: Context, planned: Experiment, keep: bool) -> Iterator[str]:
    """The name of a testbed that nobody else uses. It ends with this process, even a killed one, unless it is kept."""
    from emu.kernel import runtime_dir, sandbox

    name = f"{_short(planned.name)}-{digest(os.getpid(), planned.file).hex()[:6]}"
    loaded = starting.Loaded(replace(planned.topology, name=name), planned.manifests)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        starting.launch(context if keep else _tied(context), loaded)
        try:
            yield name
        finally:
            if not keep:
                sandbox.stop(name, sandbox.runtime_directory())
                runtime_dir.forget(name, sandbox.runtime_directory())
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _short(name: str) -> str:
    """A name of an experiment as the name of a testbed: a-z, 0-9, -, not too long."""
    plain = "".join(each if each.isascii() and each.isalnum() else "-" for each in name.lower())
    return plain.strip("-")[:40].strip("-") or "experiment"


def _tied(context: Context) -> Context:
    """With labs that end when this process has ended, by whatever cause: the lab watches a handle on it."""
    lab = context.lab

    def made(topology: Any, manifests: Any) -> Callable[[Any], None]:
        assert lab is not None
        inside, caller = lab(topology, manifests), os.pidfd_open(os.getpid())
        return lambda sandbox: inside(_Watching(sandbox, caller))

    return replace(context, lab=made if lab else None)


class _Watching:
    """A sandbox that ends with the process `caller` is a handle on. It begins to watch when it is ready: before, the
    kernel sees to that, and a lab's first process must have no thread while it makes the others."""

    def __init__(self, sandbox: Any, caller: int) -> None:
        self._sandbox, self._caller = sandbox, caller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sandbox, name)

    def ready(self) -> None:
        self._sandbox.ready()
        threading.Thread(target=self._watch, name="caller", daemon=True).start()

    def _watch(self) -> None:
        select.select([self._caller], [], [])
        self._sandbox.stop()
