"""What a machine holds, before and after: processes, namespaces, links, routes, rules, mounts, cgroups, eBPF, sysctls.

`pretend_machine` runs a test as if on a machine of its own (PID, network, mount, UTS namespace), where nothing but the
test's own doing can be found: a difference there is a leak, whatever else runs on the real one.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from emu.kernel import lab, netns, process, syscalls

_KINDS = ("net", "mnt", "pid", "uts", "ipc", "user", "cgroup")
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_NEXT_ID = {"prog": 11, "map": 12, "link": 31}
#: What changes by itself, and why.
VOLATILE_SYSCTLS = {
    "/kernel/random/uuid": "a new one for each reader",
    "/kernel/random/entropy_avail": "follows the machine's entropy",
    "/kernel/ns_last_pid": "the last pid given out",
    "/kernel/pty/nr": "pseudo-terminals in use",
    "/kernel/tainted": "the kernel's own mark of what has happened to it",
    "/fs/aio-nr": "requests under way",
    "/fs/dentry-state": "directory entries cached",
    "/fs/file-nr": "open files of the whole machine",
    "/fs/inode-nr": "inodes cached",
    "/fs/inode-state": "inodes cached",
    "/fs/quota/": "statistics",
    "/net/netfilter/nf_conntrack_count": "connections followed",
}


@dataclass(frozen=True)
class Snapshot:
    """Each a set of lines one can read. `sysctls` is filled by `snapshot(sysctls=True)`."""

    processes: frozenset[str]
    namespaces: frozenset[str]
    links: frozenset[str]
    network: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    bpf: frozenset[str]
    sysctls: frozenset[str] = frozenset()

    def differences(self, later: Snapshot) -> list[str]:
        found = []
        for field in fields(self):
            before, after = getattr(self, field.name), getattr(later, field.name)
            found += [f"{field.name}: + {line}" for line in sorted(after - before)]
            if field.name not in ("bpf", "cgroups"):  # listed for the whole machine: somebody else's may have gone
                found += [f"{field.name}: - {line}" for line in sorted(before - after)]
        return found


def snapshot(*, sysctls: bool = False) -> Snapshot:
    pids = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    return Snapshot(
        processes=frozenset(line for pid in pids if (line := _process(pid))),
        namespaces=frozenset(line for pid in pids for line in _namespaces(pid)),
        links=frozenset(name for _, name in socket.if_nameindex()),
        network=frozenset(_network()),
        mounts=frozenset(Path("/proc/self/mountinfo").read_text().splitlines()),
        cgroups=frozenset(path for path, _, _ in os.walk("/sys/fs/cgroup")),
        bpf=frozenset(_bpf_objects()),
        sysctls=frozenset(_sysctls()) if sysctls else frozenset(),
    )


def nothing_left(before: Snapshot, timeout_s: float = 10) -> None:
    """Fails with what is there still (or gone) after `timeout_s`; namespaces end a moment after their last process."""
    deadline = time.monotonic() + timeout_s
    while found := before.differences(snapshot(sysctls=bool(before.sysctls))):
        assert time.monotonic() < deadline, "left behind:\n" + "\n".join(found)
        time.sleep(0.01)


def _process(pid: str) -> str:
    """pid, start time and command: a pid used again is another process."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        start = stat.rsplit(") ", 1)[1].split()[19]
        return f"{pid} (start {start}) {command or stat.split(')')[0]}"
    return ""


def _namespaces(pid: str) -> Iterator[str]:
    """Those of processes, and those held by an open file or a mount."""
    with suppress(OSError):
        for kind in _KINDS:
            yield os.readlink(f"/proc/{pid}/ns/{kind}")
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
                if target.startswith(tuple(f"{kind}:[" for kind in _KINDS)):
                    yield target
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            if " - nsfs " in line:
                yield line.split()[3]


def _network() -> Iterator[str]:
    for argv in (["ip", "address"], ["ip", "route", "show", "table", "all"], ["ip", "rule"], ["ip", "-6", "rule"]):
        for line in process.run(argv).stdout.splitlines():
            if "valid_lft" not in line:  # counts down
                yield f"{' '.join(argv)}: {line.strip()}"
    for family in ("iptables-save", "ip6tables-save"):
        for line in process.run([family], check=False).stdout.splitlines():
            if line.startswith("-A"):
                yield f"{family}: {line}"
    for line in process.run(["nft", "list", "ruleset"], check=False).stdout.splitlines():
        yield f"nft: {line.strip()}"


def _bpf_objects() -> Iterator[str]:
    """Of the whole machine: the kernel keeps of an object's maker the uid alone (bpf_prog_info.created_by_uid), and who
    holds it need not be a process (a tc filter, a pin). So another eBPF lab that starts meanwhile fails the test."""
    number = _BPF_SYSCALL.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, command in _BPF_NEXT_ID.items() if number else ():
        attributes = (ctypes.c_uint32 * 32)()
        while libc.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes)) == 0:
            yield f"{kind} {attributes[1]}"
            attributes[0] = attributes[1]


def _sysctls() -> Iterator[str]:
    for directory, _, names in os.walk("/proc/sys"):
        for path in (f"{directory}/{name}" for name in names):
            if not path.removeprefix("/proc/sys").startswith(tuple(VOLATILE_SYSCTLS)):
                with suppress(OSError, UnicodeDecodeError):
                    yield f"{path} = {Path(path).read_text().strip()}"


def pretend_machine(test: Callable[[], None]) -> None:
    """Run `test` on one, and fail as it fails. Its /run is empty, its only link `lo`; what it starts and abandons is
    adopted and reaped by the first process there, as on a real machine."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        syscalls.die_with_parent()
        syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS)
        first = os.fork()
        if not first:
            _boot(test, writing)
        os.waitpid(first, 0)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as failures:
        failure = failures.read()
    os.waitpid(pid, 0)
    assert failure == "passed", failure or "the test's process was killed"


def _boot(test: Callable[[], None], report: int) -> None:
    syscalls.die_with_parent()
    syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("proc", "/proc", "proc")
    syscalls.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    os.mkdir(netns.DIRECTORY)
    lab.loopback_up()
    child = os.fork()
    if not child:
        try:
            test()
            os.write(report, b"passed")
        except BaseException:
            os.write(report, traceback.format_exc().encode())
        sys.stdout.flush()
        os._exit(0)
    while os.waitpid(-1, 0)[0] != child:
        pass
    os._exit(0)
