"""What the lab's first process does on entering its namespaces: mounts, loopback, host name, environment, signals.

From here on nothing of the machine answers: /run is empty (the sockets of nscd, resolved, Docker live there), the
network namespace has a loopback only, the environment names no proxy.
"""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

from emu.kernel import process, syscalls
from emu.kernel.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC

BPF = "/run/bpf"  # not /sys/fs/bpf, which `ip netns exec` and `tc -n` hide by mounting /sys afresh
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def furnish(hostname: str) -> None:
    syscalls.sethostname(hostname)
    syscalls.mount("", "/", flags=MS_REC | MS_PRIVATE)
    syscalls.mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    syscalls.mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.makedirs("/run/netns")
    os.makedirs("/run/lock")
    _mount_sys()
    with suppress(OSError):  # an ordinary user has no eBPF
        os.mkdir(BPF)
        syscalls.mount("bpf", BPF, "bpf")
    loopback_up()
    os.chdir("/")


def _mount_sys() -> None:
    """/sys/class/net shows the links of the namespace it was mounted in. cgroups are mounted below it: kept."""
    kept, cgroups = "/run/cgroup", "/sys/fs/cgroup"
    os.mkdir(kept)
    try:
        syscalls.mount(cgroups, kept, flags=MS_BIND | MS_REC)
        syscalls.mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        syscalls.mount(kept, cgroups, flags=MS_BIND | MS_REC)
    except OSError as error:
        logging.getLogger(__name__).warning("/sys may show the machine's links: %s", error)
    with suppress(OSError):
        syscalls.umount2(kept, syscalls.MNT_DETACH)
    with suppress(OSError):
        os.rmdir(kept)


def loopback_up() -> None:
    """Of the namespace the calling thread is in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def clean_environment() -> None:
    term = os.environ.get("TERM", "dumb")
    os.environ.clear()
    os.environ.update(process.ENVIRONMENT, HOME="/root", TERM=term)


def redirect(log: int | None) -> None:
    """stdin is empty; stdout and stderr are the log, or stay as they are in the foreground."""
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    if log is not None:
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", force=True)


def catch_signals(stop: Callable[[], None]) -> None:
    """Handlers, not SIG_IGN: a handler is reset when a program starts, "ignored" would be inherited by every one.
    The first process of a PID namespace gets no signal from inside that it has no handler for, SIGKILL included."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def raise_limits() -> None:
    """A lab holds a few files per Pod."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
