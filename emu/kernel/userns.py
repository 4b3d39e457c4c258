"""Namespaces for whoever asks: at once for root, in a user namespace for an ordinary user (who is root in there)."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NoReturn

from emu.errors import EmuError, HostError, MissingFeature, NotPermitted
from emu.kernel import process, syscalls

_CAP_SYS_ADMIN = 21
REMEDY = (
    "run as root, or allow user namespaces: "
    "sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 "
    "user.max_user_namespaces=10000 (those that exist here)"
)


def needed() -> bool:
    """Root of a container may lack what root of the machine can do."""
    return os.geteuid() != 0 or not _may_administer()


def _may_administer() -> bool:
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_ADMIN & 1)


def enter(kinds: int) -> None:
    """The calling process gets new namespaces of `kinds`, the PID namespace for its children."""
    if not needed():
        _unshare(kinds)
        return
    uid, gid = os.geteuid(), os.getegid()
    map_ranges = _mapper(uid, gid)
    _unshare(syscalls.CLONE_NEWUSER | kinds)
    if not map_ranges():
        # Without this an unprivileged process may not map groups: it could drop one that denies it something.
        _write("setgroups", "deny")
        _write("uid_map", f"0 {uid} 1")
        _write("gid_map", f"0 {gid} 1")


def _mapper(uid: int, gid: int) -> Callable[[], bool]:
    """Programs that change to a second uid (nginx, tcpdump) work if the user has ranges of them. newuidmap, which is
    set-uid, maps them from outside: a child left there waits for the word. False if there are none, or it failed."""
    login = _login(uid)
    uids, gids = own_range("/etc/subuid", login, uid), own_range("/etc/subgid", login, uid)
    if not uids or not gids or not shutil.which("newuidmap", path=process.PATH):
        return lambda: False
    target = str(os.getpid())
    waiting, go = os.pipe()
    helper = os.fork()
    if not helper:
        os.close(go)
        _map(
            waiting,
            (["newuidmap", target, "0", str(uid), "1", *uids], ["newgidmap", target, "0", str(gid), "1", *gids]),
        )

    def map_ranges() -> bool:
        os.write(go, b".")
        _, status = os.waitpid(helper, 0)
        return status == 0

    return map_ranges


def _map(waiting: int, commands: Iterable[Sequence[str]]) -> NoReturn:
    try:
        if os.read(waiting, 1):
            for argv in commands:
                process.run(argv)
            os._exit(0)
    finally:
        os._exit(1)


def own_range(file: str, login: str, uid: int) -> list[str]:
    """What newuidmap is given to map the user's first range from 1 on; [] if there is none."""
    with suppress(OSError), open(file, encoding="utf-8") as lines:
        for line in lines:
            name, _, rest = line.strip().partition(":")
            start, _, count = rest.partition(":")
            if name in (login, str(uid)) and start.isdigit() and count.isdigit():
                return ["1", start, count]
    return []


def _login(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _write(name: str, text: str) -> None:
    try:
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise NotPermitted(f"cannot write {name} of a user namespace: {error.strerror}", hint=REMEDY) from error


def _unshare(kinds: int) -> None:
    try:
        syscalls.unshare(kinds)
    except OSError as error:
        raise _refusal(error, bool(kinds & syscalls.CLONE_NEWUSER)) from error


def _refusal(error: OSError, user: bool) -> EmuError:
    what = "user namespaces for ordinary users" if user else "new namespaces"
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return MissingFeature(what)
    if error.errno == errno.ENOSPC:
        return HostError(f"the limit of {what} is reached", hint="sysctl user: raise user.max_*_namespaces")
    return NotPermitted(f"{what} are not permitted here: {error.strerror}", hint=REMEDY)
