"""The daemons of Nodes: started, told to read changed files, asked how they are, ended.

All of a Node share one set of namespaces, as Pods have them (`kernel.pods`): what they write to /run is seen by the
Node's other programs and by nobody else. A daemon that ends by itself is not started again: a lab shows what follows.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from emu.errors import EmuError, KernelError, MissingTool, NoSuchProgram
from emu.kernel import process
from emu.kernel.netns import Netns
from emu.kernel.pods import PodHandle, PodNamespaces
from emu.kernel.process import Child
from emu.plan import render
from emu.plan.model import Daemon, File, NetnsChange, NetnsPlan

log = logging.getLogger(__name__)

ENDS_S = 2.0  # from SIGTERM to SIGKILL
ANSWERS_S = 5.0  # a daemon that has just been started does not listen yet
LOG = "/var/log/{}.log"  # what it writes to stdout and stderr, in the Node's namespaces


@dataclass(slots=True)
class Running:
    daemon: Daemon
    child: Child
    wanted: bool = True  # False: it is being ended


class Daemons:
    """`netns_of` finds a Node's netns by name. Changes come from one thread at a time; others may ask."""

    def __init__(self, namespaces: PodNamespaces | None, netns_of: Callable[[str], Netns]) -> None:
        self._namespaces, self._netns_of = namespaces, netns_of
        self._handles: dict[str, PodHandle] = {}
        self._running: dict[tuple[str, str], Running] = {}
        self._lock = threading.Lock()
        self.on_change: Callable[[str], None] = lambda _: None  # a Node's daemon was started, or has ended

    def handle(self, node: str) -> PodHandle | None:
        """The namespaces of a Node that has daemons."""
        return self._handles.get(node)

    def machine(self, node: str) -> PodHandle:
        """The same, made if it has none yet."""
        return self._ensure(node)

    def change(self, changes: Iterable[NetnsChange]) -> None:
        """Nodes side by side. Every change is carried out, then the first error raised."""
        concerned = [change for change in changes if change.daemons]
        if concerned:
            with ThreadPoolExecutor(max_workers=1 + (os.cpu_count() or 1), thread_name_prefix="daemons") as pool:
                futures = [pool.submit(self._change, each) for each in concerned]
            for future in futures:
                future.result()

    def _change(self, change: NetnsChange) -> None:
        for old, new in change.daemons:
            known = self._running.get((change.name, (new or old).name))  # type: ignore[union-attr]
            if new is None:
                self._stop(change.name, known)
            elif known is None or known.child.code is not None:
                self._start(change.name, new)
            elif known.daemon.argv != new.argv or not new.reload:
                self._stop(change.name, known)
                self._start(change.name, new)
            else:
                self._reload(change.name, known, new)

    def _start(self, node: str, daemon: Daemon) -> None:
        log.info("%s", render.command(node, daemon))
        handle = self._ensure(node)
        write(handle, daemon.files)
        output = os.open(_inside(handle, LOG.format(daemon.name)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            assert self._namespaces is not None
            child = self._namespaces.spawn(
                handle,
                daemon.argv,
                process.ENVIRONMENT,
                stdout=output,
                stderr=output,
                on_exit=lambda code: self._ended(node, daemon.name, code),
            )
        except NoSuchProgram:
            raise missing(daemon) from None
        finally:
            os.close(output)
        with self._lock:
            self._running[node, daemon.name] = Running(daemon, child)
        self.on_change(node)

    def _ensure(self, node: str) -> PodHandle:
        if self._namespaces is None:
            raise KernelError(f"{node}: there are no namespaces for daemons")
        self._handles[node] = self._namespaces.ensure_node(self._netns_of(node))
        return self._handles[node]

    def _ended(self, node: str, name: str, code: int) -> None:
        with self._lock:
            running = self._running.get((node, name))
            unwanted = running is not None and running.wanted and running.child.code is not None
        if unwanted:
            log.warning("%s: %s has ended (%s)", node, name, ending(code))
            self.on_change(node)

    def _stop(self, node: str, running: Running | None) -> None:
        if running is None:
            return
        log.info("%s", render.command(node, running.daemon, remove=True))
        running.wanted = False
        running.child.signal(signal.SIGTERM)
        if running.child.wait(ENDS_S) is None:
            running.child.kill()
        with self._lock:
            self._running.pop((node, running.daemon.name), None)

    def _reload(self, node: str, running: Running, new: Daemon) -> None:
        """Again and again while it runs and does not answer: it may have been started a moment ago."""
        log.info("%s# %s", node, shlex.join(new.reload))
        handle = self._handles[node]
        write(handle, new.files)
        running.daemon = new
        deadline = time.monotonic() + ANSWERS_S
        while (done := self._ask(handle, new.reload)).code:
            if running.child.wait(0.02) is not None:
                return  # that is told where its state is
            if time.monotonic() > deadline:
                raise KernelError(f"{node}# {shlex.join(new.reload)}: {(done.stdout + done.stderr).strip()}")

    def _ask(self, handle: PodHandle, argv: tuple[str, ...]) -> process.Completed:
        return process.run(argv, ns=handle.namespaces, check=False, timeout_s=ANSWERS_S)

    # ---- what is there

    def read(self, node: str, wanted: Iterable[Daemon]) -> tuple[Daemon, ...]:
        """Those that run, with their files as they are and the signs that they show."""
        found = ((daemon, self._running.get((node, daemon.name))) for daemon in wanted)
        return tuple(self._as_is(node, each.daemon, daemon) for daemon, each in found if each and _runs(each))

    def _as_is(self, node: str, running: Daemon, wanted: Daemon) -> Daemon:
        handle = self._handles[node]
        files = tuple(_read(handle, file) for file in running.files)
        signs = wanted.signs
        if wanted.status:
            done = self._ask(handle, wanted.status)
            signs = tuple(sign for sign in signs if re.search(sign.pattern, done.stdout, re.M))
        return replace(running, files=tuple(each for each in files if each), signs=signs)

    def stopped(self, node: str) -> Mapping[str, str]:
        """By name, the daemons of a Node that have ended by themselves, with how."""
        found = {name: each for (where, name), each in self._running.items() if where == node}
        return {name: self._obituary(node, each) for name, each in found.items() if not _runs(each)}

    def _obituary(self, node: str, running: Running) -> str:
        words = ending(running.child.code or 0)
        if words.startswith("killed"):
            return words
        with suppress(OSError, KeyError):
            path = _inside(self._handles[node], LOG.format(running.daemon.name))
            with open(path, encoding="utf-8", errors="replace") as file:
                last = file.read().strip().rpartition("\n")[2]
            return f"{words}: {last}" if last else words
        return words

    # ---- the end

    def drop(self, node: str) -> list[Exception]:
        """A Node goes: all that runs in its namespaces is killed."""
        for key, running in [item for item in self._running.items() if item[0][0] == node]:
            running.wanted = False
            del self._running[key]
        handle = self._handles.pop(node, None)
        if handle is None or self._namespaces is None:
            return []
        try:
            self._namespaces.destroy(handle)
        except (EmuError, OSError) as error:
            return [error]
        return []

    def close(self) -> list[Exception]:
        return [error for node in list(self._handles) for error in self.drop(node)]


def check_tools(plans: Iterable[NetnsPlan]) -> None:
    """Raises MissingTool for a daemon whose program is not there: before the first effect."""
    daemons = {daemon.argv[0]: daemon for plan in plans for daemon in plan.daemons}
    for program, daemon in daemons.items():
        if shutil.which(program, path=process.PATH) is None:
            raise missing(daemon)


def missing(daemon: Daemon) -> MissingTool:
    return MissingTool(daemon.argv[0], wanted_for=f"the daemon {daemon.name} on each Node", package=daemon.package)


def ending(code: int) -> str:
    """An exit status in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def write(handle: PodHandle, files: Iterable[File]) -> None:
    for file in files:
        path = _inside(handle, file.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(file.text)


def _read(handle: PodHandle, file: File) -> File | None:
    with suppress(OSError), open(_inside(handle, file.path), encoding="utf-8") as stream:
        return File(path=file.path, text=stream.read())
    return None


def _inside(handle: PodHandle, path: str) -> str:
    return f"/proc/{handle.pid}/root{path}"


def _runs(running: Running) -> bool:
    return running.child.code is None
