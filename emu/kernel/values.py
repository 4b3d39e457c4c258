"""The requests that bring a plan's values about in a live namespace, and those that take them away."""

from __future__ import annotations

from collections.abc import Sequence

from emu.errors import KernelError
from emu.kernel import netlink_links, netlink_routes, programs
from emu.kernel.handle import Act, Handle
from emu.plan import render
from emu.plan.ebpf import SocketProgram, TcProgram
from emu.plan.model import Link, NetnsPlan, Refusal, Sysctl


def addition(handle: Handle, value: object) -> Act:
    asked = value.route if isinstance(value, Refusal) else value
    try:
        return Act(netlink_routes.add(asked, handle.indexes), value)  # type: ignore[arg-type]
    except KeyError as error:
        raise KernelError(f"{render.command(handle.netns.name, value)} : there is no link {error}") from None


def removal(handle: Handle, value: object) -> Act | None:
    """None when the link it lives on is gone, and it with it. A sysctl keeps its value, and what was refused never
    came."""
    if isinstance(value, Sysctl | Refusal | SocketProgram):
        return None
    try:
        if isinstance(value, TcProgram):
            return Act(programs.removal(handle, value), value, True)
        return Act(netlink_routes.delete(value, handle.indexes), value, True)  # type: ignore[arg-type]
    except KeyError:
        return None


def link_removals(handle: Handle, links: Sequence[Link]) -> list[Act]:
    if not links:
        return []
    marks = [Act(netlink_links.mark(handle.indexes[link.name]), link, True) for link in links]
    return [*marks, Act(netlink_links.delete_marked(), f"# {len(links)} links deleted", True)]


def take_back(handle: Handle, plan: NetnsPlan | None) -> None:
    """A tunnel whose socket is in another netns would hold its VNI there until the kernel gets to clean up this one."""
    moved = [link.name for link in plan.links if link.vxlan and link.vxlan.socket] if plan else []
    if moved:
        handle.refresh()
        handle.execute(
            [
                Act(netlink_links.delete(handle.indexes[name]), f"ip link del {name}", True)
                for name in moved
                if name in handle.indexes
            ]
        )
