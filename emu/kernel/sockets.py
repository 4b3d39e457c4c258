"""eBPF programs at the socket calls of a lab, and the maps they read.

They are attached by links to the cgroup that the testbed runs in: a directory of its own would outlive SIGKILL, a link
goes with its descriptor. Others may run in that cgroup, so the programs ask first whether a socket is of the lab, by
the cookie of its network namespace. There is one set of programs and maps for all Nodes; keys begin with a Node's
number."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from emu.errors import MissingFeature
from emu.kernel.bpf import load
from emu.kernel.bpf.library import Programs
from emu.kernel.netns import Netns, socket_in
from emu.plan.ebpf import LAYOUTS, MapEntry, SocketProgram, pack, unpack

SO_NETNS_COOKIE = 71  # asm-generic/socket.h
NODES = "netns_nodes"
_U32 = struct.Struct("=I")


def cgroup() -> int:
    """A descriptor of the cgroup (v2) this process runs in. Raises MissingFeature."""
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "")
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        fields, _, kind = line.partition(" - ")
        if own and kind.startswith("cgroup2 "):
            with suppress(OSError):
                path = fields.split()[4] + own.rstrip("/")
                return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    raise MissingFeature("cgroups of version 2", hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")


def cookie(netns: Netns) -> bytes:
    """The number that no other network namespace has had since the machine was started."""
    with socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)


@dataclass(slots=True)
class SocketServices:
    """Of one lab."""

    loaded: Programs | None = None
    _numbers: dict[str, int] = field(default_factory=dict)  # of Nodes
    _cookies: dict[str, bytes] = field(default_factory=dict)  # of namespaces that have joined

    @property
    def nodes(self) -> dict[int, str]:
        return {number: name for name, number in self._numbers.items()}

    def attach(self, programs: Iterable[SocketProgram]) -> None:
        for program in programs:
            held = self._held(program.file)
            if not held.attached(program.name):
                held.detach(program.name)
                directory = cgroup()
                try:
                    held.attach(program.name, directory)
                finally:
                    os.close(directory)

    def join(self, netns: Netns, node: str) -> None:
        """From now on the sockets of this namespace are looked after, as a Node's."""
        if self.loaded is not None and netns.name not in self._cookies:
            own = self._cookies[netns.name] = cookie(netns)
            self.loaded.map(NODES).update(own, _U32.pack(self._number(node)))

    def leave(self, name: str) -> None:
        if self.loaded is not None and (own := self._cookies.pop(name, None)):
            self.loaded.map(NODES).delete(own)

    def write(self, node: str, entries: Iterable[MapEntry]) -> None:
        for entry in entries:
            layout = LAYOUTS[entry.map]
            if layout.of_lab:
                value = pack(layout.value, entry.value, {})
                self._held(layout.file).map(entry.map).update(self._key(node, entry), value)

    def remove(self, node: str, entries: Iterable[MapEntry]) -> None:
        for entry in entries:
            if self.loaded is not None and LAYOUTS[entry.map].of_lab:
                self.loaded.map(entry.map).delete(self._key(node, entry))

    def programs(self, planned: Iterable[object]) -> Iterator[SocketProgram]:
        """Of the planned ones those that are attached."""
        for program in planned:
            if isinstance(program, SocketProgram) and self.loaded is not None and self.loaded.attached(program.name):
                yield program

    def there(self, node: str, planned: Sequence[MapEntry]) -> Iterator[MapEntry]:
        """All of a Node's entries in the maps of which some are planned."""
        for name in dict.fromkeys(entry.map for entry in planned):
            if LAYOUTS[name].of_lab:
                yield from self.entries(node, name)

    def entries(self, node: str, name: str) -> Iterator[MapEntry]:
        layout, prefix = LAYOUTS[name], _U32.pack(self._number(node))
        for key, value in self.loaded.map(name).items() if self.loaded is not None else ():
            if key.startswith(prefix):
                yield MapEntry(
                    map=name, key=unpack(layout.key, key[4:], {}), value=unpack(layout.value, value, {})
                )  # fmt: skip

    def close(self) -> None:
        if self.loaded is not None:
            self.loaded.close()
            self.loaded = None

    def _key(self, node: str, entry: MapEntry) -> bytes:
        return _U32.pack(self._number(node)) + pack(LAYOUTS[entry.map].key, entry.key, {})

    def _number(self, node: str) -> int:
        return self._numbers.setdefault(node, len(self._numbers) + 1)

    def _held(self, file: str) -> Programs:
        if self.loaded is None:
            self.loaded = load.load(file)
        return self.loaded
