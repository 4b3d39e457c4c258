"""A testbed in a process of its own, behind its real sockets."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from apitestbed import SmallTestbed, filled

from emu.kernel import runtime_dir


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Emu = Callable[..., Said]
Kubectl = Callable[..., Said]


def kubectl_of(port: int, home: Path) -> Kubectl:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    command = [program, f"--server=http://127.0.0.1:{port}"]
    env = {"HOME": str(home), "KUBECONFIG": "/dev/null", "PATH": os.environ["PATH"]}

    def call(*arguments: str) -> Said:
        done = subprocess.run([*command, *arguments], env=env, capture_output=True, text=True, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    return call


def serve(
    name: str, directory: Path, make: Callable[[], SmallTestbed] = filled, tcp: socket.socket | None = None
) -> int:
    """The pid of a process that serves; returns when it is ready."""
    testbed = made_once() if make is filled else make()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        ready = os.read(reading, 1)
        os.close(reading)
        assert ready == b"r"
        return child
    try:
        _serve(name, directory, testbed, tcp, writing)
    finally:
        os._exit(1)


@cache
def made_once() -> SmallTestbed:
    """Every child has a copy of its own, by the fork."""
    return filled()


def _serve(name: str, directory: Path, testbed: SmallTestbed, tcp: socket.socket | None, ready: int) -> None:
    from emu.apiserver import http, routes, server

    with runtime_dir.claim(name, directory) as claim:
        claim.hold()
        claim.hold(ready=True)
        server.serve(claim.api, claim.attach, testbed)
        if tcp:
            http.HttpServer(tcp, routes.route(testbed)).start()
        os.write(ready, b"r")
        signal.pause()


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
