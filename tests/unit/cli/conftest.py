"""A testbed in a process of its own, behind its real sockets, and the command line in this one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@pytest.fixture
def emu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Emu:
    """Runs a command line; the runtime directory is the test's own."""
    monkeypatch.setenv("EMU_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EMU_TESTBED", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str) -> Said:
        capfd.readouterr()
        code = run(None, list(arguments))
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def testbed(tmp_path: Path, emu: Emu) -> Iterator[str]:
    """The name of a running testbed with `apitestbed.WEB` in it."""
    child = serve("test", tmp_path / "run", filled)
    yield "test"
    end(child)


def serve(name: str, directory: Path, make: Callable[[], SmallTestbed]) -> int:
    """The pid of a process that serves; returns when it is ready."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        assert os.read(reading, 1) == b"r"
        os.close(reading)
        return child
    try:
        _serve(name, directory, make, writing)
    finally:
        os._exit(0)


def _serve(name: str, directory: Path, make: Callable[[], SmallTestbed], ready: int) -> None:
    from emu.apiserver.server import serve as start

    with runtime_dir.claim(name, directory) as claim:
        claim.hold()
        claim.hold(ready=True)
        start(claim.api, claim.attach, make())
        os.write(ready, b"r")
        signal.pause()


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
