"""The floor of any plan: its namespaces, links, addresses, routes, neighbors, forwarding entries and sysctls by nothing
but system calls, in one thread. Bytes are packed before the clock runs. Left out: rules, sets, eBPF programs, and what
lives on a link that netlink does not make (TUN)."""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from bench.floor import send
from emu.kernel import netlink_links, netlink_routes, netns, programs, syscalls, sysctls
from emu.kernel.handle import Act, Handle
from emu.kernel.making import LinkMaker, in_turn
from emu.kernel.netlink import Request
from emu.names import FABRIC_NETNS
from emu.plan import diff
from emu.plan.model import Link, NetnsChange, NetnsKind, NetnsPlan, Plan

_RANK = (NetnsKind.FABRIC, NetnsKind.ROUTER, NetnsKind.NODE, NetnsKind.POD)
_AT_ONCE = 131072 - 4096  # bytes of a send: below net.core.wmem_default


class _Packed(Handle):
    """Keeps what it is to send."""

    kept: list[Request]

    def execute(self, acts: Iterable[Act]) -> None:  # type: ignore[override]
        self.kept += [act.request for act in acts]


def bare(wanted: Plan) -> Plan:
    """What the floor makes, as a plan for `Kernel.apply`."""
    return replace(wanted, netns={name: _bare(space) for name, space in wanted.netns.items()})


def _bare(space: NetnsPlan) -> NetnsPlan:
    links = tuple(link for link in space.links if not programs.is_tun(link))
    names = {link.name for link in links} | {"lo", ""}
    kept = {
        field: tuple(each for each in getattr(space, field) if each.dev in names)
        for field in ("addresses", "routes", "neighbors", "fdb")
    }
    settings = tuple(each for each in space.sysctls if diff.link_of(each) in (*names, None, ""))
    return NetnsPlan(
        name=space.name, kind=space.kind, owner=space.owner, links=links, rules=space.rules, sysctls=settings, **kept
    )


def objects(wanted: Plan) -> int:
    return sum(
        1 + len(space.links) + sum(len(getattr(space, kind)) for kind in ("addresses", "routes", "rules"))
        + len(space.neighbors) + len(space.fdb) + len(space.sysctls)
        for space in wanted.netns.values()
    )  # fmt: skip


def floor(wanted: Plan) -> float:
    """Seconds. `wanted` is a bare plan."""
    spaces = sorted(wanted.netns.values(), key=lambda space: _RANK.index(space.kind))
    os.makedirs(netns.DIRECTORY, exist_ok=True)
    start = time.perf_counter()
    fds = {space.name: _made(space) for space in spaces}
    seconds = time.perf_counter() - start
    packed = _packed(wanted, spaces, fds)
    settings = {space.name: [(each.key, each.value.encode()) for each in space.sysctls] for space in spaces}
    start = time.perf_counter()
    for name, messages in packed:
        syscalls.setns(fds[name], syscalls.CLONE_NEWNET)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            for part in messages:
                send(sock, part)
        _write(settings.pop(name, ()))
    return seconds + time.perf_counter() - start


def _made(space: NetnsPlan) -> int:
    if space.name == FABRIC_NETNS:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    path = f"{netns.DIRECTORY}/{space.name}"
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY))
    syscalls.mount("/proc/thread-self/ns/net", path, flags=syscalls.MS_BIND)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _write(settings: Iterable[tuple[str, bytes]]) -> None:
    with sysctls.Opener() as opener:
        for key, value in settings:
            fd = opener.open(key, os.O_WRONLY)
            os.write(fd, value)
            os.close(fd)


def _packed(
    wanted: Plan, spaces: list[NetnsPlan], fds: dict[str, int]
) -> list[tuple[str, list[list[tuple[int, int, bytes]]]]]:
    """By namespace, first those with links to be made; each send's messages."""
    handles: dict[str, Handle] = {}
    for space in spaces:
        handles[space.name] = _Packed(netns.Netns(space.name, fds[space.name]))
        handles[space.name].kept = []  # type: ignore[attr-defined]
    changes = [NetnsChange(name=space.name, old=None, new=space, added=_values(space)) for space in spaces]
    maker = LinkMaker(handles, wanted)
    left = {change.name: maker.make(change) for change in in_turn(changes)}
    rest: defaultdict[str, list[Request]] = defaultdict(list)
    for change in changes:
        handle = handles[change.name]
        rest[change.name] = [
            netlink_links.up(netlink_links.LOOPBACK),
            *(act.request for act in left.get(change.name, ())),
        ]
        rest[change.name] += [
            netlink_routes.add(each, handle.indexes) for each in change.added if not isinstance(each, Link)
        ]
    first = [(space.name, handles[space.name].kept) for space in spaces]  # type: ignore[attr-defined]
    return [(name, list(_parts(requests))) for name, requests in (*first, *rest.items()) if requests]


def _values(space: NetnsPlan) -> tuple[object, ...]:
    return (*space.links, *space.addresses, *space.routes, *space.rules, *space.neighbors, *space.fdb)


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
