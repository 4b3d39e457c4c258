"""The files of a Node, as what is run there sees them: in a mount namespace of the calling thread's own, and of what it
starts. The machine's files stay as they are, and so does what other programs see.

A directory of the Node's (`/etc/cni`) hides one of the machine's with its name. Where the machine has none, nothing can
be mounted on it, and its parent is replaced by links to what is there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath

from emu.kernel import podmounts, syscalls
from emu.kernel.syscalls import MS_NODEV, MS_NOSUID
from emu.plan.model import File

#: Where the files may lie: directories that every machine has. /run is the lab's own, and can be written to.
PARENTS = ("/etc", "/run", "/var/lib")


def show(files: Iterable[File]) -> None:
    by_parent: dict[str, dict[str, list[File]]] = {}
    for file in files:
        parent, name = _place(file.path)
        by_parent.setdefault(parent, {}).setdefault(name, []).append(file)
    if by_parent:
        syscalls.unshare(syscalls.CLONE_NEWNS)
    for parent, directories in by_parent.items():
        _make(parent, tuple(directories))
        for name, inside in directories.items():
            syscalls.mount("tmpfs", f"{parent}/{name}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
            for file in inside:
                _write(file)


def _place(path: str) -> tuple[str, str]:
    """`/etc/cni/net.d/10-flannel.conflist` → `/etc`, `cni`."""
    parent = next(each for each in PARENTS if path.startswith(f"{each}/"))
    return parent, PurePosixPath(path).relative_to(parent).parts[0]


def _make(parent: str, names: tuple[str, ...]) -> None:
    absent = tuple(name for name in names if not os.path.isdir(f"{parent}/{name}"))
    if absent and parent != "/run":
        podmounts.with_directories(parent, absent)
    for name in names:
        os.makedirs(f"{parent}/{name}", exist_ok=True)


def _write(file: File) -> None:
    os.makedirs(os.path.dirname(file.path), exist_ok=True)
    with open(file.path, "w", encoding="utf-8") as stream:
        stream.write(file.text)
