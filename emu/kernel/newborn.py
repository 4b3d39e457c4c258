"""Network namespaces as they are when they are new: what the kernel puts into them, and what is set before any link is
made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor, Future

from emu.errors import KernelError
from emu.kernel import netns, sysctls
from emu.kernel.handle import Handle
from emu.kernel.netns import Netns
from emu.kernel.nursery import Nursery
from emu.names import FABRIC_NETNS
from emu.plan import diff, render
from emu.plan.model import NetnsKind, NetnsPlan, Sysctl

log = logging.getLogger(__name__)


_SHARE = 16  # namespaces that a thread creates before others see them


class Creator:
    """Puts what it makes into `handles`, by name. `nursery`: where namespaces for Pods are, to begin with."""

    def __init__(self, handles: dict[str, Handle], procfs: sysctls.Procfs, nursery: Nursery | None = None) -> None:
        self._handles, self._procfs, self._nursery = handles, procfs, nursery
        self._newborn: Handle | None = None  # what a namespace holds when it is made

    def create(self, plans: Sequence[NetnsPlan], nursery: Nursery | None = None) -> None:
        """All at once, by the calling thread. Raises KernelError; those made before it stay."""
        self._newborn = self._newborn or probe()
        made: dict[str, Handle] = {}
        try:
            create(plans, self._newborn, made, self._procfs, nursery)
        except OSError as error:
            raise KernelError(f"{FABRIC_NETNS}# ip netns add: {error}") from error
        finally:
            self._handles.update({plan.name: made[plan.name] for plan in plans if plan.name in made})

    def begin(self, pool: Executor, plans: Sequence[NetnsPlan]) -> dict[str, Future[None]]:
        """Pods', in the order given, some at a time: the kernel makes namespaces side by side. By name, what tells that
        one is there. `create` has been called before, for who is first sees what is in a new one."""
        shares = [plans[i : i + _SHARE] for i in range(0, len(plans), _SHARE)]
        futures = [(share, pool.submit(self.create, share, self._nursery)) for share in shares]
        return {plan.name: future for share, future in futures for plan in share}

    def leave_nursery(self) -> None:
        if self._nursery:
            self._nursery.close()
            self._nursery = None


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
