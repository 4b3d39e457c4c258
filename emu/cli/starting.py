"""Reading a topology on this side, so that mistakes are told before anything starts; then starting it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emu.cli.progress import Progress
from emu.errors import EmuError

if TYPE_CHECKING:
    from emu.api.topology import Topology
    from emu.cli.main import Context


@dataclass(frozen=True, slots=True)
class Loaded:
    topology: Topology
    manifests: Any  # emu.api.load.Loaded

    @property
    def name(self) -> str:
        return self.topology.name


def load(path: Path, name: str = "") -> Loaded:
    from emu import planners
    from emu.api import load as files

    topology, manifests = files.testbed(path, planners.check)
    tell_ignored(manifests.ignored)
    return Loaded(replace(topology, name=name) if name else topology, manifests)


def tell_ignored(ignored: Iterable[str]) -> None:
    """Once, on stderr: what was accepted and means nothing here."""
    names = ", ".join(ignored)
    if names:
        click.echo(f"ignored, as it means nothing here: {names}", err=True)


def launch(context: Context, loaded: Loaded, *, foreground: bool = False) -> None:
    from emu.kernel import sandbox

    main = _main(context, loaded)
    with Progress() as progress:
        sandbox.launch(loaded.name, sandbox.runtime_directory(), main, foreground=foreground, progress=progress)


@contextmanager
def tied(context: Context, loaded: Loaded) -> Iterator[None]:
    """A testbed for the block, which goes with this process even if that is killed."""
    from emu.kernel import sandbox

    main, directory = _main(context, loaded), sandbox.runtime_directory()
    with Progress() as progress, sandbox.tied(loaded.name, directory, main, progress=progress):
        progress.clear()
        yield


def _main(context: Context, loaded: Loaded) -> Callable[[Any], None]:
    if context.lab is None:
        raise EmuError("this command line cannot start testbeds")
    return context.lab(loaded.topology, loaded.manifests)
