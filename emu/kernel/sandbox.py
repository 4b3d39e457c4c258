"""The lab: a testbed's process as PID 1 of namespaces of its own, so that with it everything of the testbed is gone.

    caller ── fork ──▶ middle ── unshare, fork ──▶ lab (PID 1 of mount, PID, net, UTS, IPC and perhaps user namespace)
      ◀────────── progress, ready or an error ──────┘

Until the lab is ready each is killed by the kernel when its parent ends (PR_SET_PDEATHSIG): an interrupted start leaves
nothing. Once it is ready the middle process ends and the lab belongs to nobody but `stop`; a tied one keeps both.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from emu.errors import EmuError, KernelError, known_class, revived
from emu.kernel import lab, limits, runtime_dir, syscalls, userns
from emu.kernel.limits import Limit
from emu.kernel.runtime_dir import Claim, TestbedInfo, connect, running, runtime_directory

__all__ = ["Sandbox", "TestbedInfo", "connect", "launch", "running", "runtime_directory", "stop", "tied"]

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
_KINDS = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
)


class Sandbox:
    """What the lab's `main` is given: sockets that listen on the machine's side, what the machine grants, and its word
    to the caller."""

    def __init__(
        self, claim: Claim, caller: socket.socket, release: Callable[[], None], granted: tuple[Limit, ...] = ()
    ) -> None:
        self.name, self.directory, self.granted = claim.name, claim.path, granted
        self.api, self.attach = claim.api, claim.attach
        self.is_ready = False
        self._claim, self._caller, self._release = claim, caller, release
        self._stopping, self._stop = os.pipe()

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        if not self.is_ready:
            self._tell({"progress": [text, done, total]})

    def ready(self) -> None:
        """`launch` returns, and the lab no longer ends with the process that started it."""
        self._release()
        self._claim.hold(ready=True)
        self.is_ready = True
        self._tell({"ready": True})

    def stop(self) -> None:
        """Ask for the end; safe in a signal handler. A lab that is not ready yet has nothing to end in order."""
        if not self.is_ready:
            os._exit(1)
        os.write(self._stop, b".")

    def wait(self) -> None:
        """Until SIGTERM, SIGINT or `stop`."""
        os.read(self._stopping, 1)

    def _tell(self, message: Mapping[str, object]) -> None:
        _tell(self._caller, message)


def _tell(caller: socket.socket, message: Mapping[str, object]) -> None:
    with suppress(OSError):  # the caller has gone
        caller.sendall(json.dumps(message).encode() + b"\n")


def _report(caller: socket.socket, error: EmuError) -> None:
    _tell(caller, {"error": known_class(error), "message": error.message, "hint": error.hint})


def launch(
    name: str,
    directory: Path,
    main: Callable[[Sandbox], None],
    *,
    foreground: bool = False,
    progress: Progress = lambda text, done, total: None,
) -> None:
    """Run `main` in a new lab; return when it calls `ready` (`foreground`: when it has ended). An EmuError it raises
    before that is raised here, as the same class. Call it from a process that has no other thread."""
    wanted = _Wanted(main, tied=foreground, on_terminal=foreground, granted=limits.minded(os.environ))
    with _started(name, directory, wanted, progress) as start:
        if foreground:
            start.until_ended()
            runtime_dir.forget_sockets(name, directory)


@contextmanager
def tied(
    name: str,
    directory: Path,
    main: Callable[[Sandbox], None],
    *,
    progress: Progress = lambda text, done, total: None,
) -> Iterator[None]:
    """A lab for the block: it ends with it, and with this process, however that ends."""
    wanted = _Wanted(main, tied=True, on_terminal=False, granted=limits.minded(os.environ))
    with _started(name, directory, wanted, progress) as start:
        yield
        start.end()
    runtime_dir.forget_sockets(name, directory)


@contextmanager
def _started(name: str, directory: Path, wanted: _Wanted, progress: Progress) -> Iterator[_Start]:
    """A lab that is ready. An exception ends it."""
    with runtime_dir.claim(name, directory) as claim:
        start = _Start(claim, *_fork_middle(claim, wanted))
        try:
            start.until_ready(progress)
            yield start
        except BaseException:
            start.abort()
            runtime_dir.forget_sockets(name, directory)
            raise
        finally:
            start.close()


class _Start:
    """The caller's side of a start. Messages come over `link`; the lab's pidfd with the first of them."""

    def __init__(self, claim: Claim, middle: int, link: socket.socket) -> None:
        self.log, self.middle, self.link = claim.path / runtime_dir.LOG, middle, link
        self.lab = -1
        self._unread = b""

    def until_ready(self, progress: Progress) -> None:
        ready = False
        while message := self._receive():
            ready = ready or "ready" in message
            if ready and self.lab >= 0:  # the middle process may be slower to say `started`
                return
            if "error" in message:
                raise revived(str(message["error"]), str(message["message"]), str(message["hint"]))
            if isinstance(shown := message.get("progress"), list):
                progress(*shown)
        raise KernelError("the testbed's process ended while starting", hint=f"see {self.log}")

    def _receive(self) -> dict[str, object]:
        """The next message, {} at the end."""
        while b"\n" not in self._unread:
            data, fds, _, _ = socket.recv_fds(self.link, 65536, 1)
            self.lab = fds[0] if fds else self.lab
            if not data:
                return {}
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        message: dict[str, object] = json.loads(line)
        return message

    def until_ended(self) -> None:
        """Of a lab in the foreground: Ctrl-C is for us alone (its session is another) and handed on."""
        while not _ended(self.lab):
            try:
                select.select([self.lab], [], [])
            except KeyboardInterrupt:
                syscalls.pidfd_send_signal(self.lab, signal.SIGTERM)

    def end(self) -> None:
        """In order: a tied lab, from which other processes have perhaps had their answers."""
        _end(self.lab)

    def abort(self) -> None:
        """With the middle process ends the lab; wait for that."""
        os.kill(self.middle, signal.SIGKILL)
        with suppress(OSError):
            while self.lab < 0 and self._receive():
                pass
        if self.lab >= 0:
            select.select([self.lab], [], [])

    def close(self) -> None:
        os.waitpid(self.middle, 0)
        self.link.close()
        if self.lab >= 0:
            os.close(self.lab)


def _ended(pidfd: int, timeout_s: float = 0) -> bool:
    return bool(select.select([pidfd], [], [], timeout_s)[0])


@dataclass(frozen=True, slots=True)
class _Wanted:
    """`tied`: it ends with its caller, always. `on_terminal`: its log goes where its caller's output goes."""

    main: Callable[[Sandbox], None]
    tied: bool
    on_terminal: bool
    granted: tuple[Limit, ...]


def _fork_middle(claim: Claim, wanted: _Wanted) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    caller = os.getpid()
    middle = os.fork()
    if not middle:
        ours.close()
        _middle(lambda middle: _lab(claim, wanted, theirs, middle), theirs, caller)
    theirs.close()
    return middle, ours


def _middle(become_lab: Callable[[socket.socket], NoReturn], caller: socket.socket, caller_pid: int) -> NoReturn:
    """Its only purpose is to be the parent of a process in a new PID namespace, and to tie that to the caller."""
    try:
        os.setsid()
        userns.enter(_KINDS)
        syscalls.die_with_parent()  # after the user namespace: a change of credentials clears it
        if os.getppid() != caller_pid:
            os._exit(1)
        ours, labs = socket.socketpair()
        lab_pid = os.fork()
        if not lab_pid:
            ours.close()
            become_lab(labs)
        labs.close()
        socket.send_fds(caller, [b'{"started": true}\n'], [syscalls.pidfd_open(lab_pid)])
        _grant_release(ours, lab_pid, caller_pid)
    except EmuError as error:
        _report(caller, error)
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def _grant_release(lab: socket.socket, lab_pid: int, caller_pid: int) -> None:
    """Wait until the lab asks to be on its own, or has ended. Without a grant it ends with this process."""
    with suppress(OSError):
        if not lab.recv(1):
            os.waitpid(lab_pid, 0)
        elif os.getppid() == caller_pid:
            lab.send(b".")
            lab.recv(1)


def _lab(claim: Claim, wanted: _Wanted, caller: socket.socket, middle: socket.socket) -> NoReturn:
    def release() -> None:
        """Asked for and granted: or a lab could become ready whose caller is dead but whose middle is not yet."""
        if wanted.tied:
            return
        middle.setblocking(True)
        middle.send(b".")
        if not middle.recv(1):
            os._exit(1)
        syscalls.die_with_parent(0)
        middle.send(b".")

    sandbox = Sandbox(claim, caller, release, wanted.granted)
    try:
        _tie(middle)
        os.setsid()
        claim.hold()
        lab.redirect(None if wanted.on_terminal else claim.log)
        lab.catch_signals(sandbox.stop)
        lab.clean_environment()
        lab.raise_limits()
        lab.furnish(claim.name)
        wanted.main(sandbox)
    except EmuError as error:
        log.error("%s", error)
        _report(caller, error)
    except BaseException as error:
        log.exception("the testbed's process ends")
        _report(caller, KernelError(f"{type(error).__name__}: {error}", hint=f"see {claim.path / runtime_dir.LOG}"))
    finally:
        logging.shutdown()
        os._exit(0)


def _tie(middle: socket.socket) -> None:
    """End with the middle process, which may have ended before it was asked for: then its socket is closed."""
    syscalls.die_with_parent()
    middle.setblocking(False)
    with suppress(BlockingIOError):
        if not middle.recv(1):
            os._exit(1)


def stop(name: str, directory: Path, *, grace_s: float = 10) -> None:
    """End a testbed and wait until its processes are gone: SIGTERM, and SIGKILL after `grace_s`."""
    found = runtime_dir.info(name, directory)
    if not found:
        raise runtime_dir.not_running(name, directory)
    pidfd = _open(found)
    if pidfd < 0:
        return
    try:
        _end(pidfd, grace_s)
    finally:
        os.close(pidfd)
        runtime_dir.forget_sockets(name, directory)


def _end(pidfd: int, grace_s: float = 10) -> None:
    for number, timeout_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 30)):
        with suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(pidfd, number)
        if _ended(pidfd, timeout_s):
            return
    raise KernelError("the testbed's process does not end, even by SIGKILL")


def _open(testbed: TestbedInfo) -> int:
    """A handle on the very process that holds the lock: who holds it still once the handle is open is no other.
    -1 when it has ended meanwhile."""
    try:
        pidfd = syscalls.pidfd_open(testbed.pid)
    except ProcessLookupError:
        return -1
    again = runtime_dir.info(testbed.name, testbed.directory.parent)
    if again and again.pid == testbed.pid:
        return pidfd
    os.close(pidfd)
    return -1
