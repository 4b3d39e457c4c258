"""Sysctls of the namespace the calling thread is in: /proc/sys/net shows each thread its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache

from emu.errors import KernelError, MissingFeature
from emu.plan import render
from emu.plan.model import Sysctl

_SWAP = str.maketrans("./", "/.")


@lru_cache(maxsize=65536)
def path(key: str) -> str:
    """`net.ipv4.conf.flannel/1.forwarding` → `/proc/sys/net/ipv4/conf/flannel.1/forwarding`."""
    return f"/proc/sys/{key.translate(_SWAP)}"


def write(netns: str, sysctls: Iterable[Sysctl]) -> None:
    """In order; `netns` is only for the message."""
    for sysctl in sysctls:
        try:
            fd = os.open(path(sysctl.key), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, sysctl.value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise _refused(netns, sysctl, error) from error


def read(keys: Iterable[str]) -> Iterator[Sysctl]:
    """Those that exist, blanks between numbers made single spaces."""
    for key in keys:
        try:
            with open(path(key)) as file:
                yield Sysctl(key=key, value=" ".join(file.read().split()))
        except OSError:
            continue


def _refused(netns: str, sysctl: Sysctl, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError) and sysctl.key.startswith("net.bridge."):
        return MissingFeature("netfilter for bridged packets", module="br_netfilter")
    if isinstance(error, FileNotFoundError) and sysctl.key.startswith("net.ipv6."):
        return MissingFeature("IPv6", module="ipv6", hint="boot without ipv6.disable=1")
    return KernelError(f"{render.command(netns, sysctl)}: {error.strerror}")
