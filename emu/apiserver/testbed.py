"""What the API server asks of a testbed. `emu.testbed.facade.Testbed` is one; the tests have a smaller one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from emu.api.images import Image
from emu.api.objects import Key, KubeObject
from emu.api.topology import Topology
from emu.cluster.model import Cluster
from emu.errors import Place
from emu.plan.drift import Drift
from emu.plan.ebpf import MapEntry
from emu.plan.model import Plan
from emu.store import Store
from emu.trace.model import TraceResult

Fds = tuple[int, int, int]


class AppliedObject(Protocol):
    """`word` is created, configured or unchanged."""

    @property
    def object(self) -> KubeObject: ...

    @property
    def word(self) -> str: ...


class Program(Protocol):
    """A process of the lab."""

    def signal(self, number: int, *, group: bool = False) -> None: ...


class Testbed(Protocol):
    store: Store
    topology: Topology
    registry: Mapping[str, Image]
    cluster: Cluster | None
    plan: Plan | None
    applied: Plan | None

    def apply(
        self, objects: Iterable[KubeObject], places: Mapping[Key, Place] | None = None
    ) -> Sequence[AppliedObject]: ...

    def delete(self, keys: Iterable[Key], grace_period_s: int | None = None) -> None: ...

    def scale(self, key: Key, replicas: int) -> KubeObject: ...

    def get(self, key: Key) -> KubeObject: ...

    def entries(self, names: Sequence[str], node: str = "") -> Mapping[str, Sequence[MapEntry]]: ...

    def check(self, repair: bool = False) -> tuple[Drift, ...]: ...

    def wait_ready(self, timeout_s: float, progress: Callable[[str, int, int], None] = ...) -> None: ...

    def trace(
        self,
        source: str,
        target: str,
        command: tuple[str, ...] = (),
        proto: str = "",
        *,
        size: int | None = None,
        df: bool = False,
        family: int = 0,
        started: Callable[[Program], None] = ...,
    ) -> TraceResult: ...

    def verify(self, progress: Callable[[str, int, int], None], fd: int | None) -> tuple[TraceResult, ...]: ...

    def capture(
        self, selectors: tuple[str, ...], fd: int, until: threading.Event, armed: Callable[[Sequence[str]], None]
    ) -> Mapping[str, int]: ...

    def exec(
        self,
        target: str,
        argv: Sequence[str],
        fds: Fds,
        tty: bool = False,
        container: str = "",
        *,
        started: Callable[[Program], None] = ...,
    ) -> int: ...

    def prompt(
        self, fds: Fds, script: str | None = None, *, tty: bool = False, started: Callable[[Program], None] = ...
    ) -> int: ...

    def logs(self, namespace: str, pod: str, container: str, previous: bool) -> Path: ...
