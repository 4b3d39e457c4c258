"""The documents are true: each command in them is run, and prints what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.console import problems, run, steps

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("captures/*.md"), *ROOT.glob("topologies/*/README.md")]
)
TESTED = [page for page in PAGES if "```console" in page.read_text()]


@pytest.mark.parametrize("page", TESTED, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_printed_is_what_the_page_says(page: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    wanted = steps(page.read_text(), str(page.relative_to(ROOT)))
    with tempfile.TemporaryDirectory(prefix="emu-") as runtime:  # short: a socket's path has at most 107 bytes
        folder, environment = _checkout(tmp_path, runtime)
        try:
            found = list(problems(wanted, run(wanted, folder, environment)))
        finally:
            subprocess.run(["emu", "down", "--all"], env=environment, check=False, capture_output=True)
    assert not found, "\n\n".join(found)


def _checkout(tmp_path: Path, runtime: str) -> tuple[Path, dict[str, str]]:
    """A copy of the repository, so that what a page writes does not come into this one; and an environment in which
    `emu` is this tree's, with testbeds of its own."""
    folder, programs = tmp_path / "kube-emu", tmp_path / "bin"
    programs.mkdir()
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "runs", "*.egg-info"))
    emu = programs / "emu"
    emu.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m emu.main "$@"\n')
    emu.chmod(0o755)
    path = f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return folder, {"PATH": path, "EMU_RUNTIME_DIR": runtime, "HOME": str(tmp_path), "LANG": "C.UTF-8"}


def test_the_commands_that_set_up_are_those_that_ci_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    ran = [line for line in lines if line.startswith("make ")]
    *for_users, for_contributors = ran
    assert for_users == ["make demo", "make test"]
    assert all(line in (ROOT / "README.md").read_text().splitlines() for line in for_users)
    assert f"`{for_contributors}`" in (ROOT / "CONTRIBUTING.md").read_text()


def test_every_page_or_its_folder_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    pages = [page.relative_to(ROOT) for page in PAGES if page != ROOT / "README.md"]
    unlinked = [page for page in pages if not any(f"({each})" in readme for each in (page, *page.parents))]
    assert unlinked == []


def test_links_lead_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text())]
    assert [f"{page.relative_to(ROOT)}: {link}" for page, link in links if not (page.parent / link).exists()] == []
