"""What only one place may import, where import-linter's layers do not say so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ALONE = {
    "mininet": {"emu/kernel/machines.py"},
    "subprocess": {"emu/kernel/process.py"},
    "scapy": {"emu/capture/decode.py"},
    "pyroute2": set(),
}


def importers(package: str) -> Iterator[str]:
    for file in (ROOT / "emu").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == package for name in found):
                yield str(file.relative_to(ROOT))


@pytest.mark.parametrize("package", ALONE)
def test_a_package_is_imported_in_one_place(package: str) -> None:
    assert set(importers(package)) == ALONE[package]


def test_an_import_inside_a_function_is_found() -> None:
    assert "emu/main.py" in set(importers("emu"))
