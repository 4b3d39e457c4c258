"""What programs that are not ours have made in a netns: the kernel read before and after, with roles and owners given
to their links by where the other end is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from emu.kernel import netns, read, sysctls
from emu.kernel.handle import Handle
from emu.netfilter.model import Table
from emu.plan import foreign
from emu.plan.model import Foreign, Link, NetnsKind, NetnsPlan, Plan, Role, Sysctl

#: What decides about packets beside what the plan itself sets.
SETTINGS = ("net.ipv4.conf.{}.proxy_arp", "net.ipv4.conf.{}.route_localnet")


@dataclass(frozen=True, slots=True)
class Observer:
    """`handles`: every netns of the lab."""

    handles: Mapping[str, Handle]

    def read(self, planned: NetnsPlan, variant: str) -> NetnsPlan:
        """All there is; of a Node the rules too, where none are planned those of both families."""
        handle, asked = self.handles[planned.name], planned
        if planned.kind is NetnsKind.NODE and not planned.tables:
            asked = replace(planned, tables=tuple(Table(family, "filter") for family in (4, 6)))
        found = read.read(asked, handle, self.handles, variant)
        own = {link.name for link in planned.links}
        settings = tuple(self._settings(handle, (link.name for link in found.links if link.name not in own)))
        return replace(found, sysctls=(*found.sysctls, *settings))

    def _settings(self, handle: Handle, links: Iterable[str]) -> Iterator[Sysctl]:
        with netns.entered(handle.netns):
            found = tuple(sysctls.read(key.format(name.replace(".", "/")) for name in links for key in SETTINGS))
        return (each for each in found if each.value != "0")

    def of_node(
        self, planned: NetnsPlan, first: NetnsPlan, known: Foreign | None, pods: Iterable[str], *, plan: Plan, by: str
    ) -> Foreign:
        """`pods`: netns of those that are joined there."""
        then = self.read(planned, plan.iptables)
        found = foreign.after(known, planned, first, then, by)
        there = {name: read.veth_ends(self.handles[name]) for name in pods if name in self.handles}
        owners = {name: plan.netns[name].owner for name in there if name in plan.netns}
        here = read.veth_ends(self.handles[planned.name])
        links = tuple(_dressed(link, here, there, owners) for link in found.links)
        return replace(found, links=links)

    def of_pod(self, planned: NetnsPlan, plan: Plan, by: str) -> Foreign:
        """All that is in a Pod is what the plugins have made, or planned."""
        assert planned.attachment is not None
        then = self.read(planned, plan.iptables)
        nothing = NetnsPlan(name=planned.name, kind=planned.kind, owner=planned.owner)
        found = foreign.after(None, planned, nothing, then, by)
        here, node = read.veth_ends(self.handles[planned.name]), planned.attachment.node
        there = {node: read.veth_ends(self.handles[node])}
        links = (replace(link, role=Role.POD_ETH, owner=planned.owner) for link in found.links)
        return replace(found, links=tuple(replace(each, peer=_peer(each.name, here, there)) for each in links))


Ends = Mapping[str, tuple[int, int]]


def _dressed(link: Link, here: Ends, there: Mapping[str, Ends], owners: Mapping[str, str]) -> Link:
    peer = _peer(link.name, here, there)
    if peer is None:
        return link
    return replace(link, peer=peer, role=Role.HOST_VETH, owner=owners.get(peer[0], link.owner))


def _peer(name: str, here: Ends, there: Mapping[str, Ends]) -> tuple[str, str] | None:
    """Indexes tell of each end where the other is: two that tell so of each other are a pair."""
    if name not in here:
        return None
    index, other = here[name]
    for where, ends in there.items():
        for far, (far_index, far_other) in ends.items():
            if (far_index, far_other) == (other, index):
                return where, far
    return None
