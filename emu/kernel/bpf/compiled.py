"""Sources here → compiled object files, by clang, at install time (`make bpf`, scripts/install).

An object file lies in `build/` beside its source and has the source's hash in its name: one that was compiled from
another text is not found. Where none is found (a checkout that was never installed) it is compiled when it is needed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from emu.errors import MissingTool

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
SOURCES = ("cilium", "cilium_sock", "drop", "ipip")
CLANG = "clang"
_INCLUDED = re.compile(rb'^#include "(.+)"$', re.MULTILINE)
FLAGS = ("-O2", "-g", "-Wall", "-Werror", "-target", "bpf")
HEADERS = "/usr/include/{}-linux-gnu"  # Debian's asm/: clang for bpf does not look there
Run = Callable[[Sequence[str]], object]


def cached(name: str) -> Path:
    """Where the object file is, or would be."""
    return HERE / "build" / f"{name}.{hashlib.sha256(_text(f'{name}.c')).hexdigest()[:16]}.o"


def _text(file: str) -> bytes:
    """A source, with the headers beside it that it includes."""
    text = (HERE / file).read_bytes()
    return b"".join((text, *(_text(each.decode()) for each in _INCLUDED.findall(text))))


@cache
def read(name: str, run: Run) -> bytes:
    """The compiled program. `run` is for a compiler that should not be needed."""
    file = cached(name)
    if file.exists():
        return file.read_bytes()
    log.warning("%s.c was not compiled when kube-emu was installed (scripts/install): compiling it now", name)
    with tempfile.TemporaryDirectory(prefix="emu-bpf-") as directory:
        made = Path(directory, file.name)
        run(command(name, made))
        return made.read_bytes()


def build(run: Run) -> None:
    """All of them, into the cache; what an older source has left there goes."""
    wanted = [cached(name) for name in SOURCES]
    directory = HERE / "build"
    directory.mkdir(exist_ok=True)
    for name, file in zip(SOURCES, wanted, strict=True):
        if not file.exists():
            part = file.with_suffix(f".{os.getpid()}")
            run(command(name, part))
            part.rename(file)  # at once whole: two may build at a time
    for file in directory.glob("*.o"):
        if file not in wanted:
            file.unlink(missing_ok=True)


def command(name: str, output: Path) -> list[str]:
    if not shutil.which(CLANG):
        raise MissingTool(CLANG, wanted_for=f"{name}.c, an eBPF program,", package="clang libbpf-dev")
    headers = HEADERS.format(os.uname().machine)
    return [CLANG, *FLAGS, f"-I{headers}", "-c", str(HERE / f"{name}.c"), "-o", str(output)]
