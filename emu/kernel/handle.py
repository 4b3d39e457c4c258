"""A live namespace as `Kernel` holds it: its descriptor, its rtnetlink socket, the index of every link in it."""

from __future__ import annotations

import errno as errnos
import logging
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from emu.errors import KernelError
from emu.kernel import netlink, netlink_links
from emu.kernel.bpf.library import Programs
from emu.kernel.netlink import Connection, Request
from emu.kernel.netns import Netns, entered
from emu.plan import render
from emu.plan.model import PolicyRule, Refusal, Sysctl

log = logging.getLogger(__name__)

_GONE = frozenset({errnos.ENODEV, errnos.ESRCH, errnos.ENOENT, errnos.EADDRNOTAVAIL})
_NOT_ON_LINK = frozenset({errnos.ENETUNREACH, errnos.EHOSTUNREACH, errnos.EINVAL})  # of a route's next hop


class Act(NamedTuple):
    """One request and the value of the plan it carries out, for the log and for errors."""

    request: Request
    value: Any
    remove: bool = False
    exists: bool = False


def rtnetlink() -> Connection:
    """In the namespace the calling thread is in."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    return Connection(socket.socket(socket.AF_NETLINK, kind, netlink.NETLINK_ROUTE))


@dataclass(slots=True)
class Handle:
    netns: Netns
    indexes: dict[str, int] = field(default_factory=lambda: {"lo": netlink_links.LOOPBACK})
    next_index: int = 2
    objects: dict[str, Programs] = field(default_factory=dict)  # loaded eBPF files, by name: whose maps are wanted
    tuns: dict[str, tuple[int, int]] = field(default_factory=dict)  # TUN devices by name: descriptor, index
    preset: frozenset[Sysctl] = frozenset()  # what it was born with
    _connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """Opened when first needed: one descriptor less for each Pod that is at rest."""
        if self._connection is None:
            with entered(self.netns):
                self.open_here()
        assert self._connection is not None
        return self._connection

    def open_here(self) -> None:
        """The same, by a thread that is in this namespace already: no need to go there and back."""
        self._connection = rtnetlink()

    def rest(self) -> None:
        """Close the socket until the next change."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def release(self) -> None:
        """All that keeps the namespace beside its own descriptor."""
        self.rest()
        while self.tuns:
            os.close(self.tuns.popitem()[1][0])
        while self.objects:
            self.objects.popitem()[1].close()

    def refresh(self) -> None:
        """Read the links that are there: something else may have made or removed some."""
        self.indexes = dict(read_indexes(self.connection))
        self.next_index = max(self.indexes.values(), default=1) + 1

    def allot(self, name: str) -> int:
        """The index of a link about to be made."""
        index = self.indexes[name] = self.next_index
        self.next_index += 1
        return index

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.indexes.pop(name, None)

    def execute(self, acts: Sequence[Act]) -> None:
        """All in one send. What is to be removed and is not there, or is to be a rule and is there, is no error; a
        route that the plan expects to be refused must be."""
        if acts and log.isEnabledFor(logging.INFO):
            log.info("%s", self.commands(acts))
        self.carry_out(acts)

    def commands(self, acts: Sequence[Act]) -> str:
        """For the log, a line each."""
        return "\n".join([_command(self.netns.name, act) for act in acts])

    def carry_out(self, acts: Sequence[Act]) -> None:
        """As `execute`, not logged."""
        if not acts:
            return
        failures = self.connection.execute([act.request for act in acts])
        errors = [_refusal(self.netns.name, acts[f.index], f) for f in failures if not _harmless(acts[f.index], f)]
        failed = {failure.index for failure in failures}
        taken = (act for i, act in enumerate(acts) if isinstance(act.value, Refusal) and i not in failed)
        raise_all([*errors, *(f"{_command(self.netns.name, act)} : the kernel took it" for act in taken)])


def raise_all(errors: Sequence[str], cause: BaseException | None = None) -> None:
    """One error that tells the first and counts the rest."""
    if errors:
        more = f"\n  and {len(errors) - 1} more:\n  " + "\n  ".join(errors[1:6]) if len(errors) > 1 else ""
        raise KernelError(errors[0] + more) from cause


def read_indexes(connection: Connection) -> Iterable[tuple[str, int]]:
    for body in connection.dump(netlink_links.RTM_GETLINK, netlink_links.info(0)):
        name = netlink.attributes(body[16:])[netlink_links.IFLA_IFNAME]
        yield name.rstrip(b"\0").decode(), struct.unpack_from("=i", body, 4)[0]


def _harmless(act: Act, failure: netlink.Failure) -> bool:
    if act.remove:
        return failure.errno in _GONE
    if isinstance(act.value, Refusal):
        return failure.errno in _NOT_ON_LINK
    return isinstance(act.value, PolicyRule) and failure.errno == errnos.EEXIST


def _refusal(netns: str, act: Act, failure: netlink.Failure) -> str:
    return f"{_command(netns, act)} : {failure}"


def _command(netns: str, act: Act) -> str:
    if isinstance(act.value, str):
        return f"{netns}# {act.value}"
    return render.command(netns, act.value, remove=act.remove, exists=act.exists)
