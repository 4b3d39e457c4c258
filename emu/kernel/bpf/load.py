"""The programs of this folder by the name of their file: compiled, if need be, and loaded."""

from __future__ import annotations

from emu.kernel import process
from emu.kernel.bpf import compiled, library
from emu.kernel.bpf.library import Loading, Programs


def loaded(file: str) -> Loading:
    """For a moment: what keeps the programs after that is what they were attached to."""
    return library.loaded(*_source(file))


def load(file: str) -> Programs:
    """To be closed."""
    return library.load(*_source(file))


def _source(file: str) -> tuple[bytes, str]:
    return compiled.read(file, process.run), f"emu/kernel/bpf/{file}.c"
