"""A testbed in a process of its own, behind its real sockets, and the command line in this one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from apitestbed import filled
from served import Emu, Kubectl, Said, end, kubectl_of, serve

from emu.cli.main import run


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
