"""The kernel side of a plan: applies changes, reads back what is there, releases what it made.

Order: netfilter of what stays, so that nothing is sent any more to what goes; what goes, first rules and routes, then
links, then namespaces; new namespaces with the sysctls that later links inherit, the Pods' beside what follows for
others; links (fabric, nodes, Pods: each needs those before it); the links' own sysctls; addresses, routes, neighbors,
forwarding entries; beside all these, netfilter of what is new; daemons at the end, and CNI plugins, which are told
first of what goes. A link is born up, but nothing is sent: addresses come after, and IPv6 is switched off before where
the plan does so.
"""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from emu.errors import EmuError, KernelError
from emu.kernel import (
    carrier,
    conntrack,
    daemons,
    firewall,
    ipvs,
    limits,
    maps,
    netlink_links,
    netns,
    newborn,
    programs,
    read,
    subnets,
    sysctls,
    values,
)
from emu.kernel.daemons import Daemons
from emu.kernel.foreign import Observer
from emu.kernel.handle import Act, Handle
from emu.kernel.limits import Limit
from emu.kernel.making import LinkMaker, in_turn
from emu.kernel.netns import Netns
from emu.kernel.newborn import Creator
from emu.kernel.nursery import Nursery
from emu.kernel.plugins import Plugins
from emu.kernel.pods import PodNamespaces
from emu.kernel.sockets import SocketServices
from emu.kernel.tracing_ebpf import DecisionTrace, Source
from emu.names import FABRIC_NETNS
from emu.netfilter.model import IpSet
from emu.plan import diff, expectations, foreign
from emu.plan.drift import Drift
from emu.plan.ebpf import LAYOUTS, MapEntry, SocketProgram
from emu.plan.ipvs import RealServer, VirtualService
from emu.plan.model import Changes, IPAddress, Link, NetnsChange, NetnsKind, NetnsPlan, Plan, Sysctl, TcProgram
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort

log = logging.getLogger(__name__)

_DESCRIPTORS = 65536
#: What is not made by rtnetlink, or has been before the rest.
_BY_OTHERS = (
    *(Link, Sysctl, IpSet, TcProgram, SocketProgram, MapEntry),
    *(VirtualService, RealServer, Subnet, SubnetPort, SubnetAddress),
)


class Kernel:
    """One lab's namespaces. Made inside the sandbox; its own namespace is the fabric's. Not thread-safe: one apply
    at a time. `namespaces` makes those that daemons run in. `granted`: what the machine has to give. `nursery`: where
    network namespaces for the first apply's Pods are."""

    def __init__(
        self,
        lab: str,
        namespaces: PodNamespaces | None = None,
        granted: Sequence[Limit] | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self.lab = lab
        self._limits = (limits.files(),) if granted is None else tuple(granted)
        self._handles: dict[str, Handle] = {}
        self._plan: Plan | None = None
        self._begun: dict[str, NetnsPlan] = {}  # what an apply that failed had begun, as it was to be
        self.daemons = Daemons(namespaces, self.netns)
        self.plugins = Plugins(self.daemons.machine, self.netns, Observer(self._handles))
        self.sockets = SocketServices()
        self._procfs = sysctls.Procfs()
        self._creator = Creator(self._handles, self._procfs, nursery)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < min(_DESCRIPTORS, hard):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))

    def netns(self, name: str) -> Netns:
        """KeyError when there is none of that name."""
        return self._handles[name].netns

    def adopt(self, netns: Netns) -> None:
        """A namespace that somebody else has made and keeps: only what a change says is changed there."""
        handle = self._handles[netns.name] = Handle(netns)
        handle.refresh()

    def apply(self, changes: Changes, new: Plan) -> None:
        """`new` is the plan the changes lead to: a link's other end is looked up there."""
        if any(change.old is None for change in changes.netns):
            limits.check(new, self._limits)
        daemons.check_tools(change.new for change in changes.netns if change.new and change.daemons)
        programs.check(changes)
        ipvs.check(changes)
        subnets.check(changes)
        self._plan = new
        gone = [change for change in changes.netns if change.new is None]
        gone += self._given_up(new)
        staying = sorted((c for c in changes.netns if c.new is not None), key=lambda c: diff.NETNS_ORDER[c.new.kind])  # type: ignore[union-attr]
        self._restore([change for change in staying if change.name in self._handles], new.iptables)
        try:
            self.plugins.leave((*staying, *gone), new)
            self._remove_values([c for c in staying if c.name in self._handles and (c.added or c.removed)])
            self._drop(gone)
            born = self._create([change for change in staying if change.name not in self._handles])
            self._furnish(staying, born, new)
            self.daemons.change(staying)
            self.plugins.join(staying, new)
        except BaseException:
            self._begun |= {c.name: c.new for c in staying if c.old is None and c.name in self._handles}  # type: ignore[misc]
            raise
        finally:
            self._creator.leave_nursery()
            for change in staying:
                if change.name in self._handles and change.new.kind is NetnsKind.POD:  # type: ignore[union-attr]
                    self._handles[change.name].rest()

    def _given_up(self, new: Plan) -> list[NetnsChange]:
        """What was begun and is not wanted any more: whoever compares plans has never heard of it."""
        begun, self._begun = self._begun, {}
        return [NetnsChange(name=name, old=each, new=None) for name, each in begun.items() if name not in new.netns]

    def read(self, plan: NetnsPlan) -> NetnsPlan:
        """What is there now, in the same shapes. KeyError when there is no such namespace."""
        variant = self._plan.iptables if self._plan else "nft"
        found = read.read(foreign.joined(plan), self._handles[plan.name], self._handles, variant)
        daemons = self.daemons.read(plan.name, plan.daemons) if plan.daemons else ()
        if self.sockets.loaded is not None:
            found = replace(
                found,
                programs=(*found.programs, *self.sockets.programs(plan.programs)),
                maps=(*found.maps, *self.sockets.there(plan.name, plan.maps)),
            )
        return replace(found, daemons=daemons, attachment=self.plugins.read(plan))

    def absent(self, plan: NetnsPlan, ask: bool = False) -> tuple[str, ...]:
        """What the daemons of a netns have not brought yet, in words. They are asked how they are when the routes are
        all there, or when `ask` says so."""
        routes = expectations.absent_routes(plan, read.routes(plan, self._handles[plan.name]))
        if routes and not ask:
            return routes
        found = self.daemons.read(plan.name, plan.daemons) if plan.daemons else ()
        return (*expectations.absent_signs(plan, found, self.daemons.stopped(plan.name)), *routes)

    def retry(self) -> None:
        """Join the Pods whose plugins have failed, when it is time to."""
        if self._plan is not None:
            self.plugins.retry(self._plan)

    def flush_conntrack(
        self,
        name: str,
        *,
        orig_dst: IPAddress | None = None,
        dst_nat: IPAddress | None = None,
        dport: int = 0,
    ) -> int:
        """Delete the UDP entries of an endpoint or Service that is gone; returns how many there were."""
        return conntrack.flush_udp(self.netns(name), orig_dst=orig_dst, dst_nat=dst_nat, dport=dport)

    def repair(self, drifts: Iterable[Drift]) -> None:
        """Bring back what the last applied plan says."""
        if self._plan is None:
            raise KernelError("nothing has been applied, so nothing can be repaired")
        merged: dict[str, NetnsChange] = {}
        for drift in drifts:
            change = drift.change
            before = merged.get(drift.netns, NetnsChange(name=drift.netns, old=change.old, new=change.new))
            merged[drift.netns] = _joined(before, change)
        self.apply(Changes(netns=tuple(merged.values())), self._plan)

    def entries(self, node: str, names: Iterable[str]) -> tuple[MapEntry, ...]:
        """What is in eBPF maps of a Node."""
        handle = self._handles[node]
        return tuple(
            entry
            for name in names
            for entry in (self.sockets.entries(node, name) if LAYOUTS[name].of_lab else maps.entries(handle, name))
        )

    def decisions(self) -> DecisionTrace:
        """Follow what the eBPF programs decide, until it is closed."""
        sources = [
            Source(name, programs, {index: link for link, index in handle.indexes.items()}, {})
            for name, handle in list(self._handles.items())
            for programs in handle.objects.values()
        ]
        if self.sockets.loaded is not None:
            sources.append(Source("", self.sockets.loaded, {}, self.sockets.nodes))
        return DecisionTrace(sources)

    def close(self) -> list[Exception]:
        """Release everything made here, by descriptor and index; errors are collected, not raised."""
        errors: list[Exception] = self.daemons.close()
        self._creator.leave_nursery()
        self.sockets.close()
        self._procfs.close()
        for name, handle in reversed(self._handles.items()):
            if name == FABRIC_NETNS:
                errors += _attempt(lambda: self._delete_fabric(handle))  # noqa: B023 - called at once
            handle.release()
            errors += netns.delete(handle.netns)
        self._handles.clear()
        return errors

    def _delete_fabric(self, handle: Handle) -> None:
        plan = self._plan.netns.get(FABRIC_NETNS) if self._plan else None
        links = [link for link in plan.links if link.name in handle.indexes] if plan else []
        handle.execute(values.link_removals(handle, links))

    # ---- what goes

    def _remove_values(self, changes: Sequence[NetnsChange]) -> None:
        """Namespaces side by side: a deletion waits for the kernel's clean-up, not for a core."""
        if changes:
            with ThreadPoolExecutor(max_workers=min(8, len(changes)), thread_name_prefix="remove") as pool:
                list(pool.map(self._remove_from, changes))

    def _remove_from(self, change: NetnsChange) -> None:
        handle = self._handles[change.name]
        handle.refresh()
        doomed = [v for v in change.removed if isinstance(v, Link) and v.name in handle.indexes]
        ipvs.remove(handle.netns, [v for v in change.removed if isinstance(v, ipvs.Value)])
        subnets.remove(handle.netns, [v for v in change.removed if isinstance(v, subnets.Value)])
        elsewhere = Link | IpSet | MapEntry | ipvs.Value | subnets.Value
        rest = (value for value in change.removed if not isinstance(value, elsewhere))
        entries = [value for value in change.removed if isinstance(value, MapEntry)]
        maps.remove(handle, entries)
        self.sockets.remove(change.name, entries)
        acts = [act for value in rest if (act := values.removal(handle, value))]
        handle.execute([*acts, *values.link_removals(handle, doomed)])
        handle.forget(link.name for link in doomed)
        if stale := [(value, None) for value in change.removed if isinstance(value, IpSet)]:
            firewall.restore_sets(handle.netns, stale)

    def _drop(self, changes: Sequence[NetnsChange]) -> None:
        """The kernel ends the namespace, and what is left in it, when its last user has gone."""
        errors: list[Exception] = []
        for change in changes:
            errors += self.daemons.drop(change.name)
            self.sockets.leave(change.name)
            self.sockets.remove(change.name, change.old.maps if change.old else ())
            handle = self._handles.pop(change.name, None)
            if handle is not None:
                values.take_back(handle, change.old)
                log.info("%s# ip netns del %s", FABRIC_NETNS, change.name)
                handle.release()
                errors += netns.delete(handle.netns)
        if errors:
            raise KernelError(f"{FABRIC_NETNS}# ip netns del: {errors[0]}")

    # ---- what comes

    def _create(self, changes: Sequence[NetnsChange]) -> set[str]:
        """All new namespaces but the Pods'. Returns the names of those that are new, the Pods' too."""
        plans = [change.new for change in changes if change.new is not None]
        for plan in [plan for plan in plans if plan.kind is NetnsKind.FABRIC]:
            handle = self._handles[plan.name] = Handle(netns.current(plan.name))
            handle.refresh()
            sysctls.write(plan.name, newborn.first(plan), self._procfs)
            plans.remove(plan)
        if plans:
            self._creator.create([plan for plan in plans if plan.kind is not NetnsKind.POD])
        return {change.name for change in changes}

    def _furnish(self, changes: Sequence[NetnsChange], born: set[str], new: Plan) -> None:
        """The Pods' namespaces, and what is in all. While the links of one Node are made, the namespaces before it are
        filled and those behind it created; beside all this, the rules of what is new: they name links, and do not
        need them. What was begun is carried out, then the first error raised."""
        maker = LinkMaker(self._handles, new)
        turns = in_turn(changes)
        cores = os.cpu_count() or 1
        with (
            ThreadPoolExecutor(max_workers=cores, thread_name_prefix="netns") as creators,
            ThreadPoolExecutor(max_workers=1 + cores, thread_name_prefix="apply") as pool,
        ):
            absent = [c.new for c in turns if c.new and c.name in born and c.name not in self._handles]
            there = self._creator.begin(creators, absent)
            later = [change for change in changes if change.name in there]
            sooner = [change for change in changes if change.name in born and change.name not in there]
            rules = [pool.submit(self._restore, sooner, new.iptables)]
            filled = []
            for change in turns:
                for name in {change.name, *_peers(change)} & there.keys():
                    there[name].result()
                filled.append(pool.submit(self._fill, change, maker.make(change), change.name in born))
            rules.append(pool.submit(self._restore, later, new.iptables))
        if said := "\n".join(filter(None, [future.result() for future in filled])):
            log.info("%s", said)
        for future in rules:
            future.result()
        for change in changes:
            self.sockets.write(change.name, [value for value in change.added if isinstance(value, MapEntry)])
            self.sockets.attach(value for value in change.added if isinstance(value, SocketProgram))
            if links := [value for value in change.added if isinstance(value, Link)]:
                carrier.settle(self._handles[change.name].connection.sock, links)
        self._join([change.name for change in changes if change.name in born], new)

    def _join(self, names: Iterable[str], new: Plan) -> None:
        """New Nodes and Pods under the eye of the Nodes' socket programs."""
        for name in names if self.sockets.loaded is not None else ():
            pod = new.netns[name].pod
            node = pod.node if pod else name
            if any(isinstance(program, SocketProgram) for program in new.netns[node].programs):
                self.sockets.join(self.netns(name), node)

    def _fill(self, change: NetnsChange, first: Sequence[Act], born: bool) -> str:
        """Returns what is to be logged: a thousand threads' turns at the log would take longer than their work."""
        handle = self._handles[change.name]
        new = change.new if born else None
        late = [
            value
            for value in change.added
            if isinstance(value, Sysctl) and not (new and (value in handle.preset or newborn.is_first(value, new)))
        ]
        if late:
            with netns.entered(handle.netns):
                sysctls.write(change.name, late, self._procfs)
        acts = [Act(netlink_links.up(netlink_links.LOOPBACK), "ip link set lo up")] if change.old is None else []
        acts += first
        for value in change.added:
            if not isinstance(value, _BY_OTHERS):
                acts.append(values.addition(handle, value))
        handle.carry_out(acts)
        maps.write(handle, [value for value in change.added if isinstance(value, MapEntry)])
        programs.attach(handle, [value for value in change.added if isinstance(value, TcProgram)])
        ipvs.change(handle.netns, change, [value for value in change.added if isinstance(value, ipvs.Value)])
        subnets.write(handle.netns, [value for value in change.added if isinstance(value, subnets.Value)])
        return handle.commands(acts)

    def _restore(self, changes: Sequence[NetnsChange], variant: str) -> None:
        for change in changes:
            if wanted := [value for value in change.added if isinstance(value, IpSet)]:
                before = {each.name: each for each in change.old.sets} if change.old else {}
                firewall.restore_sets(
                    self._handles[change.name].netns, [(before.get(each.name), each) for each in wanted]
                )
        cache: dict[tuple[int, int], str] = {}
        firewall.restore_all(
            (
                call
                for change in changes
                if change.tables
                for call in firewall.restores(self._handles[change.name].netns, change.tables, cache)
            ),
            variant,
        )


def _peers(change: NetnsChange) -> set[str]:
    """The namespaces that links which are new lead to."""
    return {value.peer[0] for value in change.added if isinstance(value, Link) and value.peer}


def _joined(first: NetnsChange, second: NetnsChange) -> NetnsChange:
    return NetnsChange(
        name=first.name,
        old=first.old,
        new=first.new,
        added=tuple(dict.fromkeys((*first.added, *second.added))),
        removed=tuple(dict.fromkeys((*first.removed, *second.removed))),
        tables=(*first.tables, *second.tables),
        daemons=(*first.daemons, *second.daemons),
    )


def _attempt(action: Callable[[], object]) -> list[Exception]:
    try:
        action()
    except (EmuError, OSError) as error:
        return [error]
    return []
