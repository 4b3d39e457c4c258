"""Sysctls of the namespace the calling thread is in: /proc/sys/net shows each thread its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache

from emu.errors import KernelError, MissingFeature
from emu.kernel.netns import Netns, entered
from emu.plan import render
from emu.plan.model import Sysctl

_SWAP = str.maketrans("./", "/.")


@lru_cache(maxsize=65536)
def path(key: str) -> str:
    """`net.ipv4.conf.flannel/1.forwarding` → `/proc/sys/net/ipv4/conf/flannel.1/forwarding`."""
    return f"/proc/sys/{key.translate(_SWAP)}"


class Opener:
    """Opens the files of the namespace the thread is in. /proc/sys/net/ipv4 has the same name and parent in every
    namespace and so, in the kernel's directory cache, one hash chain with all the others: among a thousand of them
    the search for one's own takes longer than a write. It is gone through once for many keys."""

    def __init__(self) -> None:
        self._directories: dict[str, int] = {}

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._directories.values():
            os.close(fd)

    def open(self, key: str, flags: int) -> int:
        directory, name = _parts(key)
        if directory not in self._directories:
            self._directories[directory] = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._directories[directory])


@lru_cache(maxsize=65536)
def _parts(key: str) -> tuple[str, str]:
    """`net.ipv4.conf.all.forwarding` → `/proc/sys/net/ipv4`, `conf/all/forwarding`."""
    *directory, name = path(key).removeprefix("/proc/sys/").split("/", 2)
    return "/".join(("/proc/sys", *directory)), name


def write(netns: str, sysctls: Iterable[Sysctl]) -> None:
    """In order; `netns` is only for the message."""
    with Opener() as opener:
        for sysctl in sysctls:
            try:
                fd = opener.open(sysctl.key, os.O_WRONLY)
                try:
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
