"""The floor of any plan: its namespaces, links, addresses, routes, neighbors, forwarding entries, sysctls and eBPF
objects by nothing but system calls, in one thread. Bytes are packed before the clock runs. Left out, here and in what
is compared with it: rules and sets, daemons, and what CNI plugins make."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace

from bench import bpffloor
from bench.floor import send
from bench.sandboxed import Clock, Cost
from emu.kernel import netlink_links, netlink_routes, netns, programs, sockets, syscalls, sysctls, tun
from emu.kernel.apply import Kernel
from emu.kernel.handle import Act, Handle
from emu.kernel.making import LinkMaker, in_turn
from emu.kernel.netlink import Request
from emu.names import FABRIC_NETNS
from emu.plan import diff
from emu.plan.model import Link, NetnsChange, NetnsPlan, Plan

_AT_ONCE = 131072 - 4096  # bytes of a send: below net.core.wmem_default
_VALUES = ("links", "addresses", "routes", "rules", "neighbors", "fdb")
_OTHERS = ("sysctls", "programs", "maps")


#: Messages for a namespace, and the same by sends.
_Sends = list[tuple[str, list[Request]]]
_Parts = list[list[tuple[int, int, bytes]]]


class _Packed(Handle):
    """Keeps what it is to send, in `kept`, which is the same for all."""

    kept: _Sends

    def execute(self, acts: Iterable[Act]) -> None:  # type: ignore[override]
        self.kept.append((self.netns.name, [act.request for act in acts]))


class _Maker(LinkMaker):
    """Sends nothing on its own."""

    def _moved(self, handle: Handle, link: Link, home: Handle) -> list[Act]:
        index = handle.allot(link.name)
        home.execute([Act(netlink_links.add(link, index, netns_fd=handle.netns.fd), link)])
        return [Act(netlink_links.modify(link, index, handle.indexes.get(link.master, 0)), link)]


def bare(wanted: Plan) -> Plan:
    """What the floor makes, as a plan for `Kernel.apply`."""
    return replace(wanted, netns={name: _bare(space) for name, space in wanted.netns.items()})


def _bare(space: NetnsPlan) -> NetnsPlan:
    kept = {field: getattr(space, field) for field in (*_VALUES, *_OTHERS)}
    return NetnsPlan(name=space.name, kind=space.kind, owner=space.owner, pod=space.pod, **kept)


def objects(wanted: Plan) -> int:
    return sum(1 + sum(len(getattr(space, field)) for field in (*_VALUES, *_OTHERS)) for space in wanted.netns.values())


def applied(wanted: Plan) -> Cost:
    """The same objects by `Kernel.apply`."""
    changes, clock = diff.diff(None, wanted), Clock()
    with clock:
        Kernel("bench").apply(changes, wanted)
    return clock.cost


def floor(wanted: Plan) -> Cost:
    """`wanted` is a bare plan."""
    spaces = sorted(wanted.netns.values(), key=lambda space: diff.NETNS_ORDER[space.kind])
    os.makedirs(netns.DIRECTORY, exist_ok=True)
    for file in {program.file for space in spaces for program in space.programs}:
        bpffloor.template(file)
    drop = bpffloor.made(programs.DROP).programs[programs.DROP]
    clock = Clock()
    with clock:
        fds = {space.name: _made(space, drop) for space in spaces}
    kept: _Sends = []
    handles = _handles(spaces, fds, kept)
    links, values = _packed(wanted, spaces, handles, kept)
    settings = {space.name: [(each.key, each.value.encode()) for each in space.sysctls] for space in spaces}
    datapath = _Datapath(spaces, handles)
    with clock:
        for name, messages in links:
            syscalls.setns(fds[name], syscalls.CLONE_NEWNET)
            _send_all(messages)
        for name, messages in values:
            syscalls.setns(fds[name], syscalls.CLONE_NEWNET)
            _write(settings[name])
            _send_all(messages)
        datapath.make(fds)
    return clock.cost


class _Datapath:
    """The eBPF objects of all Nodes."""

    def __init__(self, spaces: list[NetnsPlan], handles: dict[str, Handle]) -> None:
        self._indexes = {name: handle.indexes for name, handle in handles.items()}
        self._nodes = [space for space in spaces if space.programs]
        numbers = {space.name: number for number, space in enumerate(self._nodes, 1)}
        self._entries = {
            space.name: bpffloor.packed(numbers[space.name], space.maps, self._indexes[space.name])
            for space in self._nodes
        }
        at_sockets = {space.name for space in self._nodes if bpffloor.at_sockets(space)}
        self._cookies = [
            (space.name, numbers[node].to_bytes(4, "little"))
            for space in spaces
            if (node := space.pod.node if space.pod else space.name) in at_sockets
        ]
        self._kept: list[object] = []

    def make(self, fds: dict[str, int]) -> None:
        of_lab: dict[str, bpffloor.Objects] = {}
        for space in self._nodes:
            for each in bpffloor.at_sockets(space):
                if each.file not in of_lab:
                    of_lab[each.file] = bpffloor.made(each.file)
                    self._kept.append(bpffloor.attach(of_lab[each.file], each.file))
            indexes, held = self._indexes[space.name], {}
            for program in bpffloor.tc(space):
                if program.file not in held:
                    held[program.file] = bpffloor.made(program.file)
                    if program.config:
                        bpffloor.config(held[program.file], program, indexes)
            self._kept.append(held)
            for (file, name), entries in self._entries[space.name].items():
                bpffloor.write((held.get(file) or of_lab[file]).maps[name], entries)
            syscalls.setns(fds[space.name], syscalls.CLONE_NEWNET)
            _send_all(list(_parts(list(bpffloor.filters(bpffloor.tc(space), held, indexes)))))
        for objects in of_lab.values():
            for name, number in self._cookies:
                syscalls.setns(fds[name], syscalls.CLONE_NEWNET)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                    own = any_socket.getsockopt(socket.SOL_SOCKET, sockets.SO_NETNS_COOKIE, 8)
                bpffloor.write(objects.maps[sockets.NODES], (own, number, 1))


def _made(space: NetnsPlan, drop: int) -> int:
    """The namespace, with the TUN devices that stand in it."""
    if space.name == FABRIC_NETNS:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    path = f"{netns.DIRECTORY}/{space.name}"
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY))
    syscalls.mount("/proc/thread-self/ns/net", path, flags=syscalls.MS_BIND)
    for index, link in enumerate(filter(programs.is_tun, space.links), 2):
        tun.drop_all(tun.create(link.name, index), drop)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _send_all(parts: _Parts) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        for part in parts:
            send(sock, part)


def _write(settings: Iterable[tuple[str, bytes]]) -> None:
    with sysctls.Opener() as opener:
        for key, value in settings:
            fd = opener.open(key, os.O_WRONLY)
            os.write(fd, value)
            os.close(fd)


def _handles(spaces: list[NetnsPlan], fds: dict[str, int], kept: _Sends) -> dict[str, Handle]:
    found: dict[str, Handle] = {}
    for space in spaces:
        handle = found[space.name] = _Packed(netns.Netns(space.name, fds[space.name]))
        handle.kept = kept
        tuns = [link for link in space.links if programs.is_tun(link)]
        handle.execute([programs.settings(link, handle.allot(link.name)) for link in tuns])
    return found


def _packed(
    wanted: Plan, spaces: list[NetnsPlan], handles: dict[str, Handle], kept: _Sends
) -> tuple[list[tuple[str, _Parts]], list[tuple[str, _Parts]]]:
    """Those that make links, in their order, and the rest."""
    changes = [NetnsChange(name=space.name, old=None, new=space, added=_values(space)) for space in spaces]
    maker = _Maker(handles, wanted)
    left = {change.name: maker.make(change) for change in in_turn(changes)}
    links = [(name, list(_parts(requests))) for name, requests in kept if requests]
    rest = []
    for change in changes:
        values = [each for each in change.added if not isinstance(each, Link)]
        first = [netlink_links.up(netlink_links.LOOPBACK), *(act.request for act in left.get(change.name, ()))]
        indexes = handles[change.name].indexes
        rest.append((change.name, list(_parts([*first, *(netlink_routes.add(each, indexes) for each in values)]))))
    return links, rest


def _values(space: NetnsPlan) -> tuple[object, ...]:
    links = (link for link in space.links if not programs.is_tun(link))
    return (*links, *space.addresses, *space.routes, *space.rules, *space.neighbors, *space.fdb)


def _parts(requests: list[Request]) -> Iterator[list[tuple[int, int, bytes]]]:
    part: list[tuple[int, int, bytes]] = []
    size = 0
    for kind, flags, body in requests:
        if size + len(body) > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append((kind, flags, body))
        size += len(body) + 16
    if part:
        yield part
