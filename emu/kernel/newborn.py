"""Network namespaces as they are when they are new: what the kernel puts into them, and what is set before any link is
made."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from emu.kernel import netns, sysctls
from emu.kernel.handle import Handle
from emu.kernel.netns import Netns
from emu.kernel.nursery import Nursery
from emu.names import FABRIC_NETNS
from emu.plan import diff, render
from emu.plan.model import NetnsKind, NetnsPlan, Sysctl

log = logging.getLogger(__name__)


def create(
    plans: Sequence[NetnsPlan],
    newborn: Handle,
    made: dict[str, Handle],
    procfs: sysctls.Procfs,
    nursery: Nursery | None = None,
) -> None:
    """`nursery` is for Pods'."""
    queue = iter(plans)
    preset: frozenset[Sysctl] = frozenset()

    def ahead() -> int | None:
        nonlocal preset
        fd = nursery.take() if nursery else None
        preset = nursery.sysctls if nursery and fd is not None else frozenset()
        return fd

    def inside(new: Netns) -> None:
        plan = next(queue)
        handle = made[plan.name] = Handle(new, dict(newborn.indexes), newborn.next_index, preset=preset)
        handle.open_here()
        sysctls.write(plan.name, [each for each in first(plan) if each not in preset], procfs)

    log.info("%s", "\n".join([render.command(FABRIC_NETNS, plan) for plan in plans]))
    netns.create_all([plan.name for plan in plans], inside, ahead)


def probe() -> Handle:
    """Kernels with tunnel modules put `tunl0`, `sit0` … into every new namespace: see once what there is."""
    handle = Handle(netns.create(".probe"))
    handle.refresh()
    handle.rest()
    netns.delete(handle.netns)
    return handle


def first(plan: NetnsPlan) -> list[Sysctl]:
    """What is set before any link is made."""
    return [sysctl for sysctl in plan.sysctls if is_first(sysctl, plan)]


def is_first(sysctl: Sysctl, plan: NetnsPlan) -> bool:
    """Those that name no link but `lo`, which is there already: the links made later inherit `default`. In a Pod's
    namespace, one for which the kernel wants its lock of all links has time until they are there: a thread that waits
    for it would meanwhile make none of the other thousand."""
    has_time = plan.kind is NetnsKind.POD and sysctls.locks_links(sysctl.key)
    return diff.link_of(sysctl) in ("", "lo") and not has_time
