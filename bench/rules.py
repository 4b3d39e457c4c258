"""Netfilter: every Node's rules by `Kernel.apply`, beside bare `iptables-restore` of the same text."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from bench import stages
from emu.kernel import netns, syscalls
from emu.kernel.apply import Kernel
from emu.plan import diff
from emu.plan.model import NetnsPlan, Plan

TOOL = "/usr/sbin/iptables-restore"


def applied(wanted: Plan) -> float:
    """Seconds for the rules alone, in namespaces that are there and have none."""
    full = {name: _rules_only(wanted.netns[name]) for name in stages.node_names(wanted)}
    empty = {name: replace(space, tables=()) for name, space in full.items()}
    before, after = (Plan(name="bench", seed=0, netns=spaces) for spaces in (empty, full))
    kernel = Kernel("bench")
    kernel.apply(diff.diff(None, before), before)
    changes = diff.diff(before, after)
    start = time.perf_counter()
    kernel.apply(changes, after)
    return time.perf_counter() - start


def _rules_only(space: NetnsPlan) -> NetnsPlan:
    return NetnsPlan(name=space.name, kind=space.kind, owner=space.owner, tables=space.tables)


def bare(texts: dict[str, str], at_once: int) -> float:
    """Seconds for `iptables-restore < FILE` in every Node, so many at once."""
    for name, text in texts.items():
        with open(f"/run/{name}.rules", "w") as file:
            file.write(text)
    spaces = netns.create_all(texts)
    start = time.perf_counter()
    running = 0
    for space in spaces:
        if running == at_once:
            running -= _finished()
        syscalls.setns(space.fd, syscalls.CLONE_NEWNET)
        _start(space.name)
        running += 1
    while running:
        running -= _finished()
    return time.perf_counter() - start


def _start(node: str) -> None:
    """The child has the namespace of the thread that starts it."""
    stdin = (os.POSIX_SPAWN_OPEN, 0, f"/run/{node}.rules", os.O_RDONLY, 0)
    os.posix_spawn(TOOL, [TOOL, "-w"], {"XTABLES_LOCKFILE": f"/run/{node}.lock"}, file_actions=[stdin])


def _finished() -> int:
    _, status = os.wait()
    if status:
        raise SystemExit(f"{TOOL} failed")
    return 1
