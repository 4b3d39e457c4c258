"""System calls the standard library lacks (Python 3.11), by ctypes, and one call of the C library. Each system
call raises OSError that names what was tried.

All act on the calling thread or process as the system call does: `unshare` and `setns` move one thread only.
"""

from __future__ import annotations

import ctypes
import errno as errnos
import os
import signal as signals

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2

_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 6, 1
_MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOEXEC = 2, 4, 8

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15

# The numbers are the same on every architecture: system calls from 424 on are numbered alike everywhere.
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_PIDFD_OPEN = 434
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}

_libc = ctypes.CDLL(None, use_errno=True)
_setns, _unshare, _mount, _umount2 = _libc.setns, _libc.unshare, _libc.mount, _libc.umount2


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def give_back() -> None:
    """To the kernel, the memory that the C library keeps of what has been freed (malloc_trim(3)); 2 ms for 15 MB."""
    if trim := getattr(_libc, "malloc_trim", None):  # glibc has it, others keep less
        trim(0)


def unshare(flags: int) -> None:
    """New namespaces for the calling thread (PID: for its later children; user: only while it is the sole thread)."""
    if _unshare(flags) < 0:
        raise _error(f"unshare({flags:#x})")


def setns(fd: int, kind: int = 0) -> None:
    """The calling thread enters the namespace of `fd` (0: whatever kind it is)."""
    if _setns(fd, kind) < 0:
        raise _error(f"setns(fd {fd}, {kind:#x})")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    arguments = (source.encode() or None, target.encode(), fstype.encode() or None)
    if _mount(*arguments, ctypes.c_ulong(flags), data.encode() or None) < 0:
        raise _error(f"mount({source or 'none'} on {target}, {fstype or hex(flags)})")


def umount2(target: str, flags: int = 0) -> None:
    if _umount2(target.encode(), flags) < 0:
        raise _error(f"umount2({target})")


def open_tree(place: str | int) -> int:
    """A copy of the mount a path or a namespace's file is on, with those below it, which is mounted nowhere yet."""
    at, path, empty = (place, b"", _AT_EMPTY_PATH) if isinstance(place, int) else (_AT_FDCWD, place.encode(), 0)
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | empty | _AT_RECURSIVE | os.O_CLOEXEC)
    fd: int = _libc.syscall(_SYS_OPEN_TREE, at, path, flags)
    if fd < 0:
        raise _error(f"open_tree({place})")
    return fd


def move_mount(tree: int, target: str) -> None:
    """Mounts what `open_tree` has copied, in the mount namespace the calling thread is in."""
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)
    if _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), flags) < 0:
        raise _error(f"move_mount({target})")


def fsmount(fstype: str) -> int:
    """A new file system of that type, nosuid, nodev and noexec, mounted nowhere: paths start at the descriptor, and
    with it the file system is gone."""
    context = _libc.syscall(_SYS_FSOPEN, fstype.encode(), _FSOPEN_CLOEXEC)
    if context < 0:
        raise _error(f"fsopen({fstype})")
    try:
        if _libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0) < 0:
            raise _error(f"fsconfig({fstype})")
        attributes = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOEXEC
        fd: int = _libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes)
        if fd < 0:
            raise _error(f"fsmount({fstype})")
        return fd
    finally:
        os.close(context)


def sethostname(name: str) -> None:
    raw = name.encode()
    if _libc.sethostname(raw, len(raw)) < 0:
        raise _error(f"sethostname({name})")


def prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _libc.prctl(option, *padded)
    if result < 0:
        raise _error(f"prctl({option})")
    return result


def die_with_parent(signal: int = signals.SIGKILL) -> None:
    """The kernel sends `signal` to this process when the thread that forked it ends. Cleared by a set-uid exec."""
    prctl(PR_SET_PDEATHSIG, signal)


def pidfd_open(pid: int) -> int:
    fd: int = _libc.syscall(_SYS_PIDFD_OPEN, pid, 0)
    if fd < 0:
        raise _error(f"pidfd_open({pid})")
    return fd


def pidfd_send_signal(fd: int, signal: int) -> None:
    if _libc.syscall(_SYS_PIDFD_SEND_SIGNAL, fd, signal, None, 0) < 0:
        raise _error(f"pidfd_send_signal(fd {fd}, {signal})")


def pivot_root(new_root: str, put_old: str) -> None:
    """No wrapper in libc, and a number that differs by architecture."""
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errnos.ENOSYS, f"pivot_root: number not known on {os.uname().machine}")
    if _libc.syscall(number, new_root.encode(), put_old.encode()) < 0:
        raise _error(f"pivot_root({new_root}, {put_old})")
