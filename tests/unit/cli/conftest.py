"""A testbed in a process of its own, behind its real sockets, and the command line in this one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "apiserver"))

from apitestbed import SmallTestbed, filled

from emu.cli.main import run
from emu.kernel import runtime_dir


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Emu = Callable[..., Said]
Kubectl = Callable[..., Said]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime directory is the test's own."""
    monkeypatch.setenv("EMU_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EMU_TESTBED", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path / "run"


@pytest.fixture
def emu(directory: Path, capfd: pytest.CaptureFixture[str]) -> Emu:
    """Runs a command line."""

    def call(*arguments: str) -> Said:
        capfd.readouterr()
        code = run(None, list(arguments))
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def testbed(directory: Path) -> Iterator[str]:
    """The name of a running testbed with `apitestbed.WEB` in it."""
    child = serve("test", directory)
    yield "test"
    end(child)


@pytest.fixture
def kubectl(tmp_path: Path, kubectl_home: Path) -> Iterator[Kubectl]:
    """The real one, against a testbed like `testbed` on loopback TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = serve("twin", tmp_path / "twin", filled, listener)
        yield kubectl_of(listener.getsockname()[1], kubectl_home)
        end(child)


@pytest.fixture(scope="session")
def kubectl_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


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
