"""What eBPF programs take of a process's open files, as it is counted before a cluster is made."""

from __future__ import annotations

import os

import pytest

from emu.kernel.bpf import compiled, load
from emu.plan.needs import FILES_FOR_PROGRAMS

pytestmark = pytest.mark.root


def test_the_largest_file_of_programs_has_the_descriptors_that_are_counted() -> None:
    assert max(map(descriptors, compiled.SOURCES)) == FILES_FOR_PROGRAMS


def descriptors(file: str) -> int:
    before = len(os.listdir("/proc/self/fd"))
    with load.loaded(file):
        return len(os.listdir("/proc/self/fd")) - before
