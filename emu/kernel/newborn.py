"""Network namespaces as they are when they are new: what the kernel puts into them, and what is set before any link is
made."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from emu.kernel import netns, sysctls
from emu.kernel.handle import Handle
from emu.kernel.netns import Netns
from emu.names import FABRIC_NETNS
from emu.plan import diff, render
from emu.plan.model import NetnsPlan, Sysctl

log = logging.getLogger(__name__)


def create(plans: Sequence[NetnsPlan], newborn: Handle, made: dict[str, Handle], procfs: sysctls.Procfs) -> None:
    queue = iter(plans)

    def inside(new: Netns) -> None:
        plan = next(queue)
        handle = made[plan.name] = Handle(new, dict(newborn.indexes), newborn.next_index)
        handle.open_here()
        sysctls.write(plan.name, early(plan), procfs)

    log.info("%s", "\n".join([render.command(FABRIC_NETNS, plan) for plan in plans]))
    netns.create_all([plan.name for plan in plans], inside)


def probe() -> Handle:
    """Kernels with tunnel modules put `tunl0`, `sit0` … into every new namespace: see once what there is."""
    handle = Handle(netns.create(".probe"))
    handle.refresh()
    handle.rest()
    netns.delete(handle.netns)
    return handle


def early(plan: NetnsPlan) -> list[Sysctl]:
    return [sysctl for sysctl in plan.sysctls if is_early(sysctl)]


def is_early(sysctl: Sysctl) -> bool:
    """Those that name no link but `lo`, which is there already: the links made later inherit `default`."""
    return diff.link_of(sysctl) in ("", "lo")
