"""`pytest --no-skips`, for the kernel of `make test-vm`: nothing is left out there without being told."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = "pytester"

CONFTEST = Path(__file__).parents[1] / "conftest.py"
FILES = {
    "test_passes": "def test_it(): pass\n",
    "test_mark": "import pytest\n@pytest.mark.skipif(True, reason='no ipip')\ndef test_it(): pass\n",
    "test_fixture": ("import pytest\n@pytest.fixture\ndef ipip(): pytest.skip('no ipip')\ndef test_it(ipip): pass\n"),
    "test_within": "import pytest\ndef test_it(): pytest.skip('no ipip')\n",
    "test_file": "import pytest\npytest.skip('no ipip', allow_module_level=True)\n",
}


def test_a_skipped_test_has_failed_and_the_reason_is_told(pytester: pytest.Pytester) -> None:
    assert run(pytester).parseoutcomes() == {"passed": 1, "skipped": 4}
    strict = run(pytester, "--no-skips", "--continue-on-collection-errors")
    found = strict.parseoutcomes()
    assert (found["passed"], found["failed"] + found["errors"], "skipped" in found) == (1, 4, False)
    assert strict.ret == 1
    strict.stdout.fnmatch_lines("*no ipip, and --no-skips*")


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(**FILES)
    return pytester.runpytest_inprocess(*options)
