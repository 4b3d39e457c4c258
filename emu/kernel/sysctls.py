"""Sysctls of the namespace the calling thread is in: /proc/sys/net shows each thread its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import lru_cache

from emu.errors import KernelError, MissingFeature
from emu.kernel import syscalls
from emu.kernel.netlink import RTNL
from emu.kernel.netns import Netns, entered
from emu.plan import render
from emu.plan.model import Sysctl

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_OPENERS = 64  # of one procfs: making one takes as long as some ten writes
_SWAP = str.maketrans("./", "/.")


@lru_cache(maxsize=65536)
def path(key: str) -> str:
    """`net.ipv4.conf.flannel/1.forwarding` → `/proc/sys/net/ipv4/conf/flannel.1/forwarding`."""
    return f"/proc/sys/{key.translate(_SWAP)}"


class Procfs:
    """Instances of procfs of our own, mounted nowhere, each for a few namespaces (Linux 5.8 and newer have more than
    one in a PID namespace). Where that is not allowed, /proc.

    /proc/sys/net/ipv4 has the same name and parent in every namespace and so, in the kernel's directory cache, one hash
    chain with all the others (proc_sys_compare): among a thousand of them the search for one's own takes longer than a
    write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: _Instance | None = None
        self._left = 0

    def take(self) -> _Instance:
        """The one in use, or, when that has had its share of namespaces, the next."""
        with self._lock:
            if self._current is None or not self._left:
                self._current, self._left = _Instance(), _OPENERS
            self._left -= 1
            return self._current

    def close(self) -> None:
        self._current = None


class _Instance:
    """Closed when nobody holds it any more."""

    def __init__(self, *, own: bool = True) -> None:
        try:
            self.fd = syscalls.fsmount("proc") if own else os.open("/proc", _PATH)
        except OSError:
            self.fd = os.open("/proc", _PATH)

    def __del__(self) -> None:
        os.close(self.fd)


class Opener:
    """Opens the files of the namespace the thread is in, and goes through their directory once for many keys."""

    def __init__(self, procfs: Procfs | None = None) -> None:
        self._root = procfs.take() if procfs else _Instance(own=False)
        self._directories: dict[str, int] = {}

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._directories.values():
            os.close(fd)

    def open(self, key: str, flags: int) -> int:
        directory, name = _parts(key)
        if directory not in self._directories:
            self._directories[directory] = os.open(directory, _PATH, dir_fd=self._root.fd)
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._directories[directory])


@lru_cache(maxsize=65536)
def _parts(key: str) -> tuple[str, str]:
    """`net.ipv4.conf.all.forwarding` → `sys/net/ipv4`, `conf/all/forwarding`."""
    *directory, name = path(key).removeprefix("/proc/sys/").split("/", 2)
    return "/".join(("sys", *directory)), name


def locks_links(key: str) -> bool:
    """Whether the kernel wants its lock of all links for it, or may. Source: addrconf_disable_ipv6,
    addrconf_fixup_forwarding, devinet_sysctl_forward."""
    last = key.rpartition(".")[2]
    return last in ("disable_ipv6", "forwarding", "ip_forward") and ".default." not in key


def write(netns: str, sysctls: Iterable[Sysctl], procfs: Procfs | None = None) -> None:
    """In order; `netns` is only for the message."""
    with Opener(procfs) as opener:
        for sysctl in sysctls:
            try:
                fd = opener.open(sysctl.key, os.O_WRONLY)
                try:
                    with RTNL if locks_links(sysctl.key) else nullcontext():
                        os.write(fd, sysctl.value.encode())
                finally:
                    os.close(fd)
            except OSError as error:
                raise _refused(netns, sysctl, error) from error


def read(keys: Iterable[str]) -> Iterator[Sysctl]:
    """Those that exist, blanks between numbers made single spaces."""
    with Opener() as opener:
        for key in keys:
            try:
                with open(opener.open(key, os.O_RDONLY)) as file:
                    yield Sysctl(key=key, value=" ".join(file.read().split()))
            except OSError:
                continue


def forget_path_mtus(netns: Netns) -> None:
    """What IPv4 there has learned from "fragmentation needed", as `ip route flush cache` does."""
    with entered(netns):
        write(netns.name, (Sysctl(key="net.ipv4.route.flush", value="1"),))


def _refused(netns: str, sysctl: Sysctl, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError) and sysctl.key.startswith("net.bridge."):
        return MissingFeature("netfilter for bridged packets", module="br_netfilter")
    if isinstance(error, FileNotFoundError) and sysctl.key.startswith("net.ipv6."):
        return MissingFeature("IPv6", module="ipv6", hint="boot without ipv6.disable=1")
    return KernelError(f"{render.command(netns, sysctl)}: {error.strerror}")
