"""Network namespaces: made, entered, named under /run/netns (the sandbox's private /run), released.

A namespace belongs to a thread: `entered` moves the calling thread only, and a socket keeps the namespace it was
made in wherever it is used later. /proc/sys/net is that of the thread that opens it.
"""

from __future__ import annotations

import errno as errnos
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from emu.kernel import syscalls

DIRECTORY = "/run/netns"
_OWN = "/proc/thread-self/ns/net"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Netns:
    """`fd` keeps it alive; `path` is where `ip netns exec NAME` finds it, "" when it was not bound."""

    name: str
    fd: int
    path: str = ""


def own() -> int:
    """A descriptor of the namespace the calling thread is in."""
    return os.open(_OWN, _FLAGS)


def current(name: str) -> Netns:
    """The namespace the calling thread is in, bound to its name if /run/netns is ours to write."""
    os.makedirs(DIRECTORY, exist_ok=True)
    return Netns(name, own(), _bind(name))


def create(name: str) -> Netns:
    """A new namespace, bound at /run/netns/NAME. Its `lo` is down."""
    return create_all((name,))[0]


def create_all(
    names: Iterable[str],
    inside: Callable[[Netns], object] = lambda _: None,
    ahead: Callable[[], int | None] = lambda: None,
) -> list[Netns]:
    """Many at once, the thread going home only at the end. `inside` is called in each while the thread is there.
    `ahead` may give the descriptor of one that has been made before."""
    os.makedirs(DIRECTORY, exist_ok=True)
    home = own()
    made: list[Netns] = []
    try:
        for name in names:
            if (fd := ahead()) is not None:
                made.append(Netns(name, fd))
                syscalls.setns(fd, syscalls.CLONE_NEWNET)
            else:
                syscalls.unshare(syscalls.CLONE_NEWNET)
                fd = own()
                made.append(Netns(name, fd))
            made[-1] = Netns(name, fd, _bind(name))
            inside(made[-1])
    except BaseException:
        for netns in made:
            _forget(netns)
        raise
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)
    return made


def delete(netns: Netns) -> list[OSError]:
    """Unbind and close. The kernel ends the namespace when no process, socket or file holds it any more."""
    return _forget(netns)


@contextmanager
def entered(netns: Netns) -> Iterator[None]:
    """The calling thread is in `netns` for the block, and back where it was after."""
    home = own()
    try:
        syscalls.setns(netns.fd, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
    finally:
        os.close(home)


def socket_in(netns: Netns, family: int, kind: int, proto: int = 0) -> socket.socket:
    """A socket of that namespace, usable from any thread."""
    with entered(netns):
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, proto)


def _bind(name: str) -> str:
    path = f"{DIRECTORY}/{name}"
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        syscalls.mount(_OWN, path, flags=syscalls.MS_BIND)
    except OSError:
        os.unlink(path)
        raise
    return path


def _forget(netns: Netns) -> list[OSError]:
    errors: list[OSError] = []
    for action, *arguments in (
        *(((syscalls.umount2, netns.path, syscalls.MNT_DETACH), (os.unlink, netns.path)) if netns.path else ()),
        (os.close, netns.fd),
    ):
        try:
            action(*arguments)
        except OSError as error:
            # Somebody's `ip netns del` has unbound it before: EINVAL or ENOENT.
            if action is os.close or error.errno not in (errnos.EINVAL, errnos.ENOENT):
                errors.append(error)
    return errors
