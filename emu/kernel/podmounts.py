"""What a Pod sees of the machine: its programs, read-only, with scratch directories and a few /etc files of its own.

`prepare` does once, in the zygote, what is the same for every Pod; `furnish` the rest, in each Pod's mount namespace.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from emu.kernel import syscalls
from emu.kernel.syscalls import MNT_DETACH, MS_BIND, MS_MOVE, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_REC

ETC_FILES = ("resolv.conf", "hosts", "hostname", "nsswitch.conf")
# Where programs write. The last is mounted on first, as the one tmpfs that backs them all.
SCRATCH = (
    *("/root", "/run", "/dev/shm", "/var/tmp", "/var/log", "/var/cache", "/var/lib/nginx", "/var/lib/haproxy"),
    *("/var/lib/cni", "/tmp"),
)
_OPEN_TO_ALL = ("/tmp", "/var/tmp", "/dev/shm")

_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Directory:
    """A scratch directory, with those the machine has in it (empty: programs expect /var/log/nginx to be there).
    `kept` are the machine's own that stay visible in it."""

    path: str
    mode: int
    inside: tuple[tuple[str, int, int, int], ...] = ()  # name, mode, uid, gid
    kept: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return "/tmp/" + self.path.replace("/", "_")


def prepare() -> tuple[Directory, ...]:
    """In a mount namespace of the caller's own, from which those of the Pods are copied."""
    if any(not _is_plain(f"/etc/{name}") for name in ETC_FILES):
        _replace("/etc", files=ETC_FILES)
    if not os.path.isdir("/var/lib/cni"):
        _replace("/var/lib", directories=("cni",))
    with suppress(OSError):  # an ordinary user may not take away what the machine has mounted
        syscalls.umount2("/sys/fs/cgroup", MNT_DETACH)
    _read_only("/")
    return tuple(_directory(path) for path in SCRATCH if os.path.isdir(path))


def furnish(directories: tuple[Directory, ...], files: Mapping[str, str]) -> None:
    syscalls.mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for number, (path, text) in enumerate(files.items()):
        source = f"/tmp/file{number}"
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        syscalls.mount(source, path, flags=MS_BIND)
    for directory in directories:
        _make(directory)
        syscalls.mount(directory.source, directory.path, flags=MS_BIND | MS_REC)
    syscalls.mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    with suppress(OSError):  # refused where the machine hides a part of /sys: then the lab's is seen
        syscalls.mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _make(directory: Directory) -> None:
    os.mkdir(directory.source)
    os.chmod(directory.source, directory.mode)
    for name, mode, uid, gid in directory.inside:
        path = f"{directory.source}/{name}"
        os.mkdir(path)
        with suppress(OSError):  # a uid that an ordinary user has not
            os.chown(path, uid, gid)
        os.chmod(path, mode)
    for place in directory.kept:
        seen = directory.source + place.removeprefix(directory.path)
        os.makedirs(seen)
        syscalls.mount(place, seen, flags=MS_BIND | MS_REC)


def _directory(path: str) -> Directory:
    if path == "/run":
        return Directory(path, 0o755, (("lock", 0o1777, 0, 0),))
    if path in _OPEN_TO_ALL:
        return Directory(path, 0o1777)
    inside = tuple(_inside(path)) if path.startswith("/var/") else ()
    return Directory(path, 0o755, inside, _pythons(path))


def _inside(path: str) -> Iterator[tuple[str, int, int, int]]:
    with suppress(PermissionError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                yield entry.name, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def _pythons(path: str) -> tuple[str, ...]:
    """Programs of this package run in Pods: Python and the package, where they are installed below `path`."""
    ours = {os.path.realpath(place) for place in (sys.prefix, sys.base_prefix, os.path.dirname(__file__))}
    below = sorted(place for place in ours if place.startswith(path + "/"))
    return tuple(place for place in below if not any(place.startswith(other + "/") for other in below))


def _is_plain(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def with_directories(path: str, names: tuple[str, ...]) -> None:
    """Where nothing can be made: as `path` was, but with these empty directories."""
    _replace(path, directories=names)


def _replace(path: str, files: tuple[str, ...] = (), directories: tuple[str, ...] = ()) -> None:
    """A file can be bound only onto a file, and /etc/resolv.conf is often a link into /run, or others are not there.
    So a directory becomes a tmpfs of links to its entries, with plain files and directories where ours are bound."""
    new = "/tmp"  # any directory: it is only passed through
    syscalls.mount("tmpfs", new, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.mkdir(f"{new}/.machine")
    syscalls.mount(path, f"{new}/.machine", flags=MS_BIND | MS_REC)
    for name in os.listdir(path):
        found = f"{path}/{name}"
        if name not in (*files, *directories, ".machine"):
            os.symlink(os.readlink(found) if os.path.islink(found) else f".machine/{name}", f"{new}/{name}")
    for name in files:
        os.close(os.open(f"{new}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
    for name in directories:
        os.mkdir(f"{new}/{name}")
    syscalls.mount(new, path, flags=MS_MOVE)


def _read_only(path: str) -> None:
    """Every mount below too, in one call: remounting them one by one fails on those an ordinary user may not change."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    arguments = (_AT_FDCWD, path.encode(), _AT_RECURSIVE, ctypes.byref(attributes), size)
    if _libc.syscall(_SYS_MOUNT_SETATTR, *arguments) < 0:
        raise OSError(ctypes.get_errno(), f"mount_setattr({path}, read-only)")
