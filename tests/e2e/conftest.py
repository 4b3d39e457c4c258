"""End-to-end tests run inside a lab of their own: `testbed(function)` brings one up and calls `function(testbed)` in
the lab's own process, with everything ready. What it returns or raises comes back; then the lab is gone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import Labs

from emu.testbed.facade import Testbed

Testbed.__test__ = False  # type: ignore[attr-defined]  # no test class, whatever its name says


@pytest.fixture
def testbed() -> Iterator[Labs]:
    """`testbed(function, manifests=…)`: a lab for this test alone."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory(prefix="emu-") as directory:
        yield Labs(Path(directory))
