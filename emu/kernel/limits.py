"""What this machine has a limited number of, and whether a plan fits. Read on the machine's side before the sandbox is
entered: `gc_thresh3` is to be seen in the machine's own network namespace alone, and holds for all others."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emu.errors import HostError
from emu.plan.model import Plan
from emu.plan.needs import Need, needs

IGNORED = "EMU_IGNORE_LIMITS"  # names of limits, by commas
_SYS = Path("/proc/sys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`setting` is the sysctl, or what it is called; `used` by others now; `remedy` has a place for the number."""

    name: str
    what: str
    setting: str
    granted: int
    used: int = 0
    remedy: str = ""

    def refusal(self, need: Need) -> HostError | None:
        if need.amount + self.used <= self.granted:
            return None
        others = f", of which {self.used} are in use" if self.used else ""
        text = f"{need.what} need {need.amount} {self.what}, {self.granted} are allowed{others} ({self.setting})"
        return HostError(text, hint=self.remedy.format(need.amount + self.used))


#: Not to be raised: net/bridge/br_private.h, BR_MAX_PORTS, of which number 0 is given to none.
BRIDGE_PORTS = Limit(
    name="bridge-ports",
    what="ports of one bridge",
    setting="the kernel's BR_MAX_PORTS",
    granted=1023,
    remedy="on the fabric, more switches (fabric.switches, and fabric.links between them); on a Node, fewer Pods",
)


def read() -> tuple[Limit, ...]:
    """Those that are to be seen from here."""
    return (files(), *_neighbors(), *_conntrack(), *_terminals(), *_processes(), *_namespaces(), BRIDGE_PORTS)


def minded(environment: Mapping[str, str]) -> tuple[Limit, ...]:
    """Without those that the user wants ignored."""
    ignored = {each.strip() for each in environment.get(IGNORED, "").split(",")}
    return tuple(limit for limit in read() if limit.name not in ignored)


def check(plan: Plan, limits: Iterable[Limit]) -> None:
    """Raises HostError for the first limit that does not hold the plan."""
    granted = {limit.name: limit for limit in limits}
    for need in needs(plan):
        limit = granted.get(need.limit)
        refusal = limit.refusal(need) if limit else None
        if refusal:
            raise refusal


def files() -> Limit:
    """Of this process, which the lab inherits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limit(
        name="files",
        what="open files",
        setting="RLIMIT_NOFILE",
        granted=_unlimited(most),
        remedy="sudo prlimit --pid $$ --nofile={0}, and again",
    )


def _neighbors() -> Iterator[Limit]:
    """Without those of others: the only count there is (/proc/net/stat, `entries`) has the permanent ones too, which a
    testbed has by the thousand and the limit leaves out (net/core/neighbour.c, neigh_alloc: `gc_entries`)."""
    for version in (4, 6):
        name, key = f"neighbors-ipv{version}", f"net.ipv{version}.neigh.default.gc_thresh3"
        granted = _sysctl(key)
        if granted is not None:
            yield Limit(
                name=name,
                what=f"neighbor entries of IPv{version} when all of it is in use",
                setting=f"{key}, one table for the whole machine",
                granted=granted,
                remedy=f"sudo sysctl -w {key}={{0}}; or {IGNORED}={name}, if not all of it will be",
            )


def _conntrack() -> Iterator[Limit]:
    key = "net.netfilter.nf_conntrack_max"
    granted = _sysctl(key)
    if granted:  # 0: no limit
        what = "entries of connection tracking on one Node"
        yield Limit(name="conntrack", what=what, setting=key, granted=granted, remedy=f"sudo sysctl -w {key}={{0}}")


def _terminals() -> Iterator[Limit]:
    """One count for the machine. A devpts that is not the machine's first cannot use the reserve."""
    granted, reserve = _sysctl("kernel.pty.max"), _sysctl("kernel.pty.reserve") or 0
    if granted is not None:
        yield Limit(
            name="terminals",
            what="pseudo-terminals",
            setting="kernel.pty.max less kernel.pty.reserve",
            granted=granted - reserve,
            used=_sysctl("kernel.pty.nr") or 0,
            remedy=f"sudo sysctl -w kernel.pty.max=$(({{0}} + {reserve}))",
        )


def _processes() -> Iterator[Limit]:
    """The one with the least room. The kernel counts threads."""
    found = [*_machine_processes(), *_user_processes(), *_group_processes()]
    if found:
        yield min(found, key=lambda limit: limit.granted - limit.used)


def _machine_processes() -> Iterator[Limit]:
    for key in ("kernel.pid_max", "kernel.threads-max"):
        granted = _sysctl(key)
        if granted is not None:
            yield _of_processes(key, granted, _threads(), f"sudo sysctl -w {key}={{0}}")


def _user_processes() -> Iterator[Limit]:
    """Root is not held to it."""
    if os.geteuid():
        _, most = resource.getrlimit(resource.RLIMIT_NPROC)
        yield _of_processes("RLIMIT_NPROC", _unlimited(most), 0, "sudo prlimit --pid $$ --nproc={0}, and again")


def _group_processes() -> Iterator[Limit]:
    for folder in _groups():
        with suppress(OSError, ValueError):  # "max": no limit
            granted, used = (int((folder / name).read_text()) for name in ("pids.max", "pids.current"))
            yield _of_processes(str(folder / "pids.max"), granted, used, f"echo {{0}} | sudo tee {folder}/pids.max")


def _of_processes(setting: str, granted: int, used: int, remedy: str) -> Limit:
    return Limit(name="processes", what="processes", setting=setting, granted=granted, used=used, remedy=remedy)


def _groups() -> Iterator[Path]:
    """The folders of this process's control groups that may limit processes."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "pids"):
                root = Path("/sys/fs/cgroup", controllers)
                group = root / path.lstrip("/")
                yield from (each for each in (group, *group.parents) if each.is_relative_to(root))


def _threads() -> int:
    """Of the whole machine: proc(5), loadavg."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
    return 0


def _namespaces() -> Iterator[Limit]:
    for kind, word in (("net", "network"), ("mnt", "mount"), ("pid", "PID"), ("uts", "UTS")):
        key = f"user.max_{kind}_namespaces"
        granted = _sysctl(key)
        if granted is not None:
            yield Limit(
                name=f"{kind}-namespaces",
                what=f"{word} namespaces",
                setting=key,
                granted=granted,
                remedy=f"sudo sysctl -w {key}={{0}}",
            )


def _sysctl(key: str) -> int | None:
    """None: not to be seen from here."""
    with suppress(OSError, ValueError):
        return int((_SYS / key.replace(".", "/")).read_text())
    return None


def _unlimited(value: int) -> int:
    return 2**31 - 1 if value == resource.RLIM_INFINITY else value
