"""What an experiment asks of a running testbed, and nothing else.

The experiment runs outside the lab, in the process that the user started, as a client like any other: a mistake in it
cannot harm the lab, its files are the user's, and Ctrl-C reaches it. `emu.cli.labclient` implements this over the
testbed's two sockets; the tests have a small one without a lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emu.api.load import Loaded
from emu.api.objects import KubeObject
from emu.api.resources import Resource
from emu.trace.model import TraceResult


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended. `status` as a shell tells it; -1: it was ended for taking too long."""

    status: int
    out: str
    err: str = ""


class Recording(Protocol):
    """A capture that is under way: armed when one has it."""

    def stop(self) -> Mapping[str, int]:
        """Everything until now is in the file. Frames lost, by capture point."""
        ...


class Testbed(Protocol):
    def apply(self, loaded: Loaded) -> Sequence[str]:
        """All or nothing. `deployment.apps/web created` …"""
        ...

    def delete(self, resource: Resource, namespace: str, name: str) -> None: ...

    def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None: ...

    def objects(self, resource: Resource, namespace: str = "", selector: str = "") -> Sequence[KubeObject]:
        """In the order of their names; `namespace` "": of all."""
        ...

    def table(
        self, resource: Resource, namespace: str, name: str = "", selector: str = ""
    ) -> Sequence[Mapping[str, str]]:
        """The rows of `emu get -o wide`: cells by column. A name that does not exist has no row."""
        ...

    def run(self, where: str, argv: Sequence[str], timeout_s: float) -> Ran:
        """`where`: NAMESPACE/POD, or a Node or switch by its name."""
        ...

    def trace(
        self, source: str, target: str, proto: str = "", *, size: int | None = None, df: bool = False
    ) -> TraceResult:
        """`size` and `df` as in `trace.model.Flow`."""
        ...

    def capture(self, selectors: Sequence[str], file: Path) -> Recording: ...

    def repair(self) -> Sequence[str]:
        """What differed between plan and kernel, mended."""
        ...

    def script(self) -> str:
        """The commands that make the lab's network."""
        ...
