"""What the kubelet needs of the kernel, as a seam: the testbed implements it with `emu.kernel` and the server
processes, tests with a small fake."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from emu.plan.model import PodSandbox

#: Called once with how a container ended: its exit status, or minus the signal that killed it. From any thread.
OnExit = Callable[[int], None]

#: Whatever `spawn` and `serve` return; only `kill` looks at it.
Handle = object


class Runtime(Protocol):
    """The kubelet calls these from its own thread, and keeps no descriptor it passed or was passed but those of
    `connect_socket`: `spawn` and `serve` duplicate theirs before they return."""

    def listen(self, netns: str, kind: str, port: int) -> socket.socket:
        """A socket of kind `tcp` (listening) or `udp`, bound to that port for every family of the Pod, with
        SO_REUSEADDR for TCP as servers have it. Port 0: any. Raises OSError as bind(2) does."""

    def connect_socket(self, netns: str, family: int) -> socket.socket:
        """A TCP socket, not connected and non-blocking, in a Node's netns."""

    def spawn(
        self,
        netns: str,
        pod: PodSandbox,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        output_fd: int,
        on_exit: OnExit,
    ) -> Handle:
        """Run a program in the Pod, its output and errors to the descriptor. Raises EmuError when it cannot start."""

    def serve(
        self,
        netns: str,
        pod: PodSandbox,
        handler: str,
        argv: Sequence[str],
        *,
        sockets: Sequence[tuple[str, socket.socket]],
        log_fd: int,
        on_exit: OnExit,
    ) -> Handle:
        """Have a server process answer on sockets made by `listen`, each with its role."""

    def kill(self, handle: Handle, signum: int) -> None:
        """Send a signal. What is served ends at SIGTERM or SIGKILL, and its `on_exit` is called with 0."""
