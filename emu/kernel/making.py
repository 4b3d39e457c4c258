"""Making links: each veth pair once, complete, both ends in their own namespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emu.errors import KernelError
from emu.kernel import netlink_links, programs
from emu.kernel.handle import Act, Handle
from emu.kernel.netlink_links import Peer
from emu.plan import render
from emu.plan.model import Link, NetnsChange, NetnsKind, Plan


def in_turn(changes: Sequence[NetnsChange]) -> list[NetnsChange]:
    """Fabric first, then nodes, each followed by its Pods: what leads to a Pod is made in its Node."""
    turns = {change.name: number for number, change in enumerate(changes)}

    def turn(change: NetnsChange) -> tuple[int, bool]:
        is_pod = change.new is not None and change.new.kind is NetnsKind.POD
        ends = (link.peer[0] for link in change.new.links if link.peer) if change.new and is_pod else ()
        return max((turns[name] for name in ends if name in turns), default=turns[change.name]), is_pod

    return sorted(changes, key=turn)


class LinkMaker:
    """`plan` has the other ends of veth pairs. Changes are to be given in the order of `in_turn`: who comes first makes
    the pair. A namespace whose turn has been may be changed by another thread."""

    def __init__(self, handles: Mapping[str, Handle], plan: Plan) -> None:
        self._handles = handles
        self._plan = plan
        self._born: set[tuple[str, str]] = set()  # (netns, ifname) of ends made with their peers

    def make(self, change: NetnsChange) -> list[Act]:
        """The links of one namespace. Returns what is left to do where none had to be made, to go with the namespace's
        next send."""
        handle = self._handles[change.name]
        made = len(handle.indexes)
        acts = [act for link in change.added if isinstance(link, Link) for act in self._acts(handle, link)]
        if len(handle.indexes) == made:
            return acts
        handle.execute(acts)
        return []

    def _acts(self, handle: Handle, link: Link) -> list[Act]:
        born = (handle.netns.name, link.name) in self._born
        if born and not link.master:
            up = Act(netlink_links.up(handle.indexes[link.name]), f"ip link set {link.name} up")
            return [up] if link.up else []
        if link.name in handle.indexes:
            index = handle.indexes[link.name]
            acts = [Act(netlink_links.modify(link, index, _lookup(handle, link, link.master)), link, exists=True)]
            # A link that was there may have had hairpin on.
            return acts if not link.master or (born and not link.hairpin) else [*acts, _hairpin(link, index)]
        if programs.is_tun(link):
            programs.tunnel(handle, link)
            return [programs.settings(link, handle.indexes[link.name])]
        if link.vxlan and link.vxlan.socket:
            return self._moved(handle, link, self._handles[link.vxlan.socket])
        master = _lookup(handle, link, link.master)
        lower = _lookup(handle, link, link.vxlan.dev if link.vxlan else "")
        index = handle.allot(link.name)
        acts = [Act(netlink_links.add(link, index, master=master, lower=lower, peer=self._peer(link)), link)]
        return [*acts, _hairpin(link, index)] if link.hairpin else acts

    def _moved(self, handle: Handle, link: Link, home: Handle) -> list[Act]:
        """Made in the netns that keeps its socket, straight into its own."""
        index = handle.allot(link.name)
        request = netlink_links.add(link, index, netns_fd=handle.netns.fd)
        beside = Handle(home.netns)  # whose own connection another thread may be using
        beside.execute([Act(request, render.moved(handle.netns.name, link))])
        beside.rest()
        modified = netlink_links.modify(link, index, _lookup(handle, link, link.master))
        return [Act(modified, link, exists=True)]

    def _peer(self, link: Link) -> Peer | None:
        if link.peer is None:
            return None
        netns, name = link.peer
        other = self._plan.netns[netns].link(name) if netns in self._plan.netns else None
        if other is None:
            raise KernelError(f"link {link.name}: its other end {name} in {netns} is not in the plan")
        handle = self._handles[netns]
        self._born.add(link.peer)
        return Peer(other, handle.allot(name), handle.netns.fd)


def _hairpin(link: Link, index: int) -> Act:
    state = "on" if link.hairpin else "off"
    return Act(netlink_links.hairpin(index, link.hairpin), f"bridge link set dev {link.name} hairpin {state}")


def _lookup(handle: Handle, link: Link, name: str) -> int:
    if not name:
        return 0
    if name not in handle.indexes:
        raise KernelError(f"{render.command(handle.netns.name, link)} : there is no link {name}")
    return handle.indexes[name]
