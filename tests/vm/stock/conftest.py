"""A lab for each test that wants one, as in tests/e2e; and the sandbox of tests/kernel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import Labs

from emu.testbed import request
from tests.kernel.conftest import sandbox

__all__ = ["sandbox", "testbed"]


@pytest.fixture
def testbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Labs]:
    """A kernel in user space may need seconds for an answer that another has in milliseconds."""
    monkeypatch.setattr(request, "TIMEOUT_S", 10.0)
    with tempfile.TemporaryDirectory(prefix="emu-") as directory:
        yield Labs(Path(directory), longest_s=300)
