"""One container of a Pod: launched, ended, and its status at any moment."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from emu.api.objects import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
)
from emu.errors import EmuError
from emu.plan.model import PodSandbox, Process
from emu.poller import Timer
from emu.workloads.backoff import Backoff
from emu.workloads.handler import BadArguments
from emu.workloads.handlers import HANDLERS
from emu.workloads.podstatus import stamp
from emu.workloads.runtime import Handle, OnExit, Runtime

#: What containerd and runc say before the reason.
NOT_STARTED = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)
CANNOT_START = 128  # the exit status that a container runtime reports for a program that never ran


class CannotStart(Exception):
    """The program is missing or cannot be run: no process ever was."""


class Refused(Exception):
    """The server gave up while starting, as a real one would, with this exit status."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ContainerRun:
    """`run` counts launches, so that news of an earlier one can be told apart. `timer` is a restart to come."""

    __slots__ = (
        "backoff", "handle", "last_state", "process", "ready", "restarts", "run", "started", "state", "timer",
    )  # fmt: skip

    def __init__(self, process: Process, waiting: str) -> None:
        self.process = process
        self.state = ContainerState(waiting=ContainerStateWaiting(reason=waiting))
        self.last_state = ContainerState()
        self.restarts, self.run = 0, 0
        self.ready = self.started = False
        self.handle: Handle | None = None
        self.timer: Timer | None = None
        self.backoff = Backoff()

    @property
    def name(self) -> str:
        return self.process.container.name

    @property
    def running(self) -> bool:
        return self.state.running is not None

    @property
    def completed(self) -> bool:
        return self.state.terminated is not None and self.state.terminated.exit_code == 0

    def set_running(self, now: float) -> None:
        if self.run:
            self.restarts += 1
        self.run += 1
        if self.state.terminated:
            self.last_state = self.state
        self.state = ContainerState(running=ContainerStateRunning(started_at=stamp(now)))
        container = self.process.container
        self.started = container.startup_probe is None
        self.ready = self.started and container.readiness_probe is None

    def set_terminated(self, code: int, now: float, reason: str = "", message: str = "") -> None:
        """`code` as `OnExit` gives it. A death by signal is shown as 128 + signal, as container runtimes do."""
        began = self.state.running.started_at if self.state.running else stamp(now)
        self.handle, self.ready, self.started = None, False, False
        code = 128 - code if code < 0 else code
        self.state = ContainerState(
            terminated=ContainerStateTerminated(
                exit_code=code,
                reason=reason or ("Error" if code else "Completed"),
                message=message,
                started_at=began,
                finished_at=stamp(now),
            )
        )

    def set_waiting(self, reason: str, message: str) -> None:
        if self.state.terminated:
            self.last_state = self.state
        self.state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))

    def status(self) -> ContainerStatus:
        """A finished init container counts as ready."""
        return ContainerStatus(
            name=self.name,
            image=self.process.container.image,
            ready=self.completed if self.process.init else self.ready,
            started=self.started,
            restart_count=self.restarts,
            state=self.state,
            last_state=self.last_state,
        )


def launch(runtime: Runtime, netns: str, pod: PodSandbox, process: Process, *, log_fd: int, on_exit: OnExit) -> Handle:
    """Start the container. Raises CannotStart, or Refused when the server has said in its log why it ended."""
    argv = process.program.argv
    if not process.program.serve:
        cwd = process.container.working_dir or "/"
        try:
            return runtime.spawn(netns, pod, argv, env=process.env, cwd=cwd, output_fd=log_fd, on_exit=on_exit)
        except EmuError as error:
            raise CannotStart(f"{NOT_STARTED}{error.message}: unknown") from error
    sockets = _listen(runtime, netns, process.program.serve, argv, log_fd)
    try:
        return runtime.serve(netns, pod, process.program.serve, argv, sockets=sockets, log_fd=log_fd, on_exit=on_exit)
    except (EmuError, OSError) as error:
        raise CannotStart(f"failed to start containerd task: {error}") from error
    finally:
        for _, sock in sockets:
            sock.close()


def _listen(
    runtime: Runtime, netns: str, name: str, argv: Sequence[str], log_fd: int
) -> list[tuple[str, socket.socket]]:
    """The server's ports, opened in the Pod: a port that another container has is refused by the kernel itself."""
    handler = HANDLERS[name]
    sockets: list[tuple[str, socket.socket]] = []
    try:
        for port in handler.ports(tuple(argv)):
            try:
                sockets.append((port.role, runtime.listen(netns, port.kind, port.number)))
            except OSError as error:
                _say(log_fd, handler.bind_failed(port, error))
                raise Refused(1) from error
    except BadArguments as error:
        _say(log_fd, str(error))
        raise Refused(1) from error
    except Refused:
        for _, sock in sockets:
            sock.close()
        raise
    return sockets


def _say(fd: int, text: str) -> None:
    os.write(fd, text.encode() + b"\n")
