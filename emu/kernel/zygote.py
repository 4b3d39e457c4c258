"""The zygote: a small single-threaded process that forks the first process of each Pod's PID namespace.

Forked early, so that a fork copies little, and in a mount namespace from before the lab's network namespaces were
bound below /run/netns: a Pod's mounts are a copy of its own, and must not grow with the number of Pods.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import NoReturn

from emu.kernel import podmounts, syscalls
from emu.kernel.podmounts import Directory

# Reaps by itself: it inherits "ignored" for SIGCHLD, and the kernel then waits for the orphans in its place.
_INIT = ("/usr/bin/sleep", ("sleep", "infinity"))
_OWN_KINDS = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC


def main(control: socket.socket) -> None:
    """Requests are {hostname, files} with the netns; answers are {"pid"} with a pidfd, or {"error"}."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    os.chdir("/")
    directories = podmounts.prepare()
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1 << 20, 1)
        if not data:
            return
        try:
            pid, pidfd = _make(json.loads(data), fds[0], directories, home)
            socket.send_fds(control, [json.dumps({"pid": pid}).encode()], [pidfd])
            os.close(pidfd)
        except OSError as error:
            control.send(json.dumps({"error": str(error)}).encode())
        finally:
            os.close(fds[0])


def _make(request: Mapping[str, object], netns: int, directories: tuple[Directory, ...], home: int) -> tuple[int, int]:
    """The pid and a pidfd of the new namespaces' first process, when it is ready."""
    outcome, report = os.pipe()
    syscalls.unshare(syscalls.CLONE_NEWPID)
    try:
        pid = os.fork()
        if not pid:
            _init(request, netns, directories, report)
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWPID)  # or every later fork would land in that namespace
        os.close(report)
    try:
        pidfd = syscalls.pidfd_open(pid)
        if error := os.read(outcome, 4096):  # closed by the exec when all went well
            os.close(pidfd)
            raise OSError(error.decode())
        return pid, pidfd
    finally:
        os.close(outcome)


def _init(request: Mapping[str, object], netns: int, directories: tuple[Directory, ...], report: int) -> NoReturn:
    try:
        syscalls.die_with_parent()
        os.setsid()
        syscalls.setns(netns, syscalls.CLONE_NEWNET)
        syscalls.unshare(_OWN_KINDS)
        syscalls.sethostname(str(request["hostname"]))
        files = request["files"]
        podmounts.furnish(directories, files if isinstance(files, dict) else {})
        os.chdir("/")
        program, argv = _INIT
        os.execve(program, argv, {})
    except BaseException as error:
        os.write(report, str(error).encode()[:4096])
    os._exit(1)
