"""Processes of the lab: run to completion, kept running, or forked as a service. The one file that imports subprocess.

A program starts in other namespaces from a thread of its own that has entered them: namespaces belong to threads, a
child inherits those of the thread that forked it, and a PID namespace is entered by children only.

`Reaper`, `ServiceStarter` and `start_service` are offered here too.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeVar

from emu.errors import KernelError, MissingTool
from emu.kernel import children, syscalls
from emu.kernel.children import Child, OnExit, Reaper
from emu.kernel.service import ServiceStarter, start_service

__all__ = ["Child", "Completed", "Namespaces", "Reaper", "ServiceStarter", "run", "spawn", "start_service"]

T = TypeVar("T")
NULL = subprocess.DEVNULL
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_FS = 0x200  # root and working directory shared with the other threads
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8"}


class HasFd(Protocol):
    """A network namespace, as `netns.Netns`."""

    @property
    def fd(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Namespaces to enter with one setns: `fd` is a namespace's file, or a pidfd with the `kinds` wanted of it."""

    fd: int
    kinds: int = syscalls.CLONE_NEWNET

    def enter(self) -> None:
        """The calling thread enters, for good. A mount namespace wants a root and working directory of one's own."""
        if self.kinds & syscalls.CLONE_NEWNS:
            syscalls.unshare(CLONE_FS)
        syscalls.setns(self.fd, self.kinds)


@dataclass(frozen=True, slots=True)
class Completed:
    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


def spawn(
    argv: Sequence[str],
    *,
    namespaces: Namespaces | HasFd | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: int = NULL,
    stdout: int = NULL,
    stderr: int = NULL,
    tty: bool = False,
    on_exit: OnExit | None = None,
    inside: Callable[[], None] = lambda: None,
) -> Child:
    """Start a program in a session of its own, with `env` alone as its environment and no other open file.

    `tty`: stdin is the slave of a pseudo-terminal and becomes its controlling terminal. setsid(1) does that, as forking
    a process with threads to run Python code in the child (preexec_fn) can deadlock.
    `inside` is called in the namespaces, by a thread that ends with it, before the program is started.
    Raises MissingTool when there is no such program, KernelError when it cannot be started."""
    command = ["/usr/bin/setsid", "--ctty", *argv] if tty else list(argv)

    def start() -> Child:
        if isinstance(namespaces, Namespaces):
            namespaces.enter()
        elif namespaces is not None:
            Namespaces(namespaces.fd).enter()
        inside()
        with children.lock:
            process = subprocess.Popen(
                command,
                env=dict(ENVIRONMENT if env is None else env),
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=not tty,
            )
            process.returncode = 0  # keeps Popen's destructor from waiting for a pid that is ours to wait for
            return children.note(process.pid, argv[0], on_exit)

    try:
        child = start() if namespaces is None else in_thread(start)
    except FileNotFoundError as error:
        if error.filename == cwd:
            raise KernelError(f"cannot start {argv[0]}: there is no directory {cwd}") from error
        raise MissingTool(argv[0], wanted_for="the lab") from error
    except (OSError, ValueError) as error:
        raise KernelError(f"cannot start {' '.join(argv)}: {error}") from error
    children.watch(child)
    return child


def in_thread(action: Callable[[], T]) -> T:
    """Namespaces entered by a thread end with it: there is no way back to get wrong."""
    done: Future[T] = Future()

    def call() -> None:
        try:
            done.set_result(action())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=call, name="inside", daemon=True).start()
    return done.result()


def run(
    argv: Sequence[str],
    *,
    ns: Namespaces | HasFd | None = None,
    stdin: str = "",
    timeout_s: float = 30,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a program to its end. Raises KernelError (what it wrote to stderr) unless it exits with 0 or `check` is off,
    and when it is killed after `timeout_s`.

    Input and output are files in memory, not pipes: nothing has to be pumped, nothing can block."""
    with _memory(stdin) as source, _memory() as out, _memory() as err:
        child = spawn(argv, namespaces=ns, env=env, stdin=source.fileno(), stdout=out.fileno(), stderr=err.fileno())
        if child.wait(timeout_s) is None:
            child.kill()
            raise KernelError(f"{' '.join(argv)}: not finished after {timeout_s:g} s")
        done = Completed(tuple(argv), child.code or 0, _text(out), _text(err))
    if check and done.code:
        raise KernelError(f"{' '.join(argv)}: exit status {done.code}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def _memory(text: str = "") -> BinaryIO:
    file = os.fdopen(os.memfd_create("emu"), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
