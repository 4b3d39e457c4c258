"""A Pod's mount, UTS, PID and IPC namespaces, made beside its network namespace when it first runs a program; and those
of a Node that runs daemons.

What runs in a Pod is ended with its PID namespace: a daemon that forked twice has left its session and its parent, but
cannot leave that.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from emu.errors import KernelError, MissingTool, NoSuchProgram
from emu.kernel import process, syscalls, zygote
from emu.kernel.netns import Netns
from emu.kernel.process import NULL, Child, HasFd, Namespaces, OnExit
from emu.plan.model import PodSandbox

NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_KINDS = (
    syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC
)


@dataclass(frozen=True, slots=True)
class PodHandle:
    """`pid`: the first process of the Pod's PID namespace, as the lab sees it."""

    name: str
    pid: int
    pidfd: int

    @property
    def namespaces(self) -> Namespaces:
        return Namespaces(self.pidfd, _KINDS)

    def path(self, inside: str) -> str:
        """Where a file of its own is found from outside."""
        return f"/proc/{self.pid}/root{inside}"

    def show(self, place: str | int, target: str, *, directory: bool) -> None:
        """What the lab sees at a path, or a namespace's file, is seen at `target` in here too."""
        tree = syscalls.open_tree(place)
        try:
            with suppress(OSError):  # there already, or on what is read-only and then it is there too
                if directory:
                    os.makedirs(self.path(target), exist_ok=True)
                else:
                    os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
                    os.close(os.open(self.path(target), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
            self._mounting(lambda: syscalls.move_mount(tree, target))
        finally:
            os.close(tree)

    def hide(self, target: str) -> None:
        """The contrary of `show`, of a file."""

        def away() -> None:
            syscalls.umount2(target, syscalls.MNT_DETACH)
            os.unlink(target)

        self._mounting(away)

    def _mounting(self, action: Callable[[], None]) -> None:
        def inside() -> None:
            Namespaces(self.pidfd, syscalls.CLONE_NEWNS).enter()
            action()

        process.in_thread(inside)

    def ended(self, timeout_s: float = 0) -> bool:
        return bool(select.select([self.pidfd], [], [], timeout_s)[0])


class PodNamespaces:
    """Make it before the process has threads: it forks the zygote. Its methods may be called from any."""

    def __init__(self) -> None:
        self._zygote = process.start_service("zygote", zygote.main, kind=socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._handles: dict[str, PodHandle] = {}

    def ensure(self, netns: HasFd, pod: PodSandbox) -> PodHandle:
        """The Pod's namespaces, made if they are not there (or have been killed). 2 ms."""
        return self._ensure(f"{pod.namespace}/{pod.name}", netns, pod.hostname, _files(pod))

    def ensure_node(self, netns: Netns) -> PodHandle:
        """Those of a Node that has daemons."""
        return self._ensure(netns.name, netns, netns.name, {"/etc/hostname": f"{netns.name}\n"})

    def _ensure(self, name: str, netns: HasFd, hostname: str, files: Mapping[str, str]) -> PodHandle:
        with self._lock:
            handle = self._handles.get(name)
            if handle and not handle.ended():
                return handle
            if handle:
                os.close(handle.pidfd)
            handle = self._handles[name] = self._make(name, netns, hostname, files)
            return handle

    def find(self, namespace: str, name: str) -> PodHandle | None:
        """None when the Pod has never run a program."""
        return self._handles.get(f"{namespace}/{name}")

    def _make(self, name: str, netns: HasFd, hostname: str, files: Mapping[str, str]) -> PodHandle:
        request = json.dumps({"hostname": hostname, "files": files}).encode()
        try:
            socket.send_fds(self._zygote, [request], [netns.fd])
            data, fds, _, _ = socket.recv_fds(self._zygote, 65536, 1)
        except OSError as error:
            raise KernelError(f"{name}: no namespaces: {error}") from error
        answer = json.loads(data or b'{"error": "the zygote has ended"}')
        if "error" in answer:
            raise KernelError(f"{name}: no namespaces: {answer['error']}")
        os.set_inheritable(fds[0], False)
        return PodHandle(name, answer["pid"], fds[0])

    def spawn(
        self,
        handle: PodHandle,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        cwd: str | None = None,
        stdin: int = NULL,
        stdout: int = NULL,
        stderr: int = NULL,
        tty: bool = False,
        on_exit: OnExit | None = None,
        inside: Callable[[], None] = lambda: None,
    ) -> Child:
        """A program in the Pod; see `process.spawn`. Raises NoSuchProgram."""
        try:
            return process.spawn(
                argv,
                namespaces=handle.namespaces,
                env=env,
                cwd=cwd or "/",
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                tty=tty,
                on_exit=on_exit,
                inside=inside,
            )
        except MissingTool:
            raise NoSuchProgram(argv[0]) from None

    def destroy(self, handle: PodHandle, *, timeout_s: float = 10) -> None:
        """Kill all that runs in the Pod; return when it is gone. Raises KernelError if it is not after `timeout_s`."""
        with self._lock:
            if self._handles.get(handle.name) is not handle:
                return
            del self._handles[handle.name]
        try:
            syscalls.pidfd_send_signal(handle.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            if not handle.ended(timeout_s):
                raise KernelError(f"{handle.name}: its processes do not end")
        finally:
            os.close(handle.pidfd)


def _files(pod: PodSandbox) -> dict[str, str]:
    return {
        "/etc/nsswitch.conf": NSSWITCH,
        "/etc/hostname": f"{pod.hostname}\n",
        **{file.path: file.text for file in pod.files},
    }
