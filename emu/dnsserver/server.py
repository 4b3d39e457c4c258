"""The DNS server process: one thread serves every DNS Pod of a testbed through sockets handed to it.

Messages on the control channel: {op: "zone", zone}, {op: "add", pod, address, embedded, roles} with a descriptor per
role, {op: "remove", pod}, each with an `id` that comes back as {done: id} once it has taken effect.
`service.DnsService` sends them.
"""

from __future__ import annotations

import socket
from dataclasses import replace

from emu.control import Channel, Message
from emu.dnsserver.directory import Directory
from emu.dnsserver.embedded import Names
from emu.dnsserver.pod import DnsPod
from emu.plan.dns import DnsZone
from emu.poller import Poller, allow_many_descriptors


def main(control: socket.socket) -> None:
    """Serve until the control channel is closed."""
    allow_many_descriptors()
    Server(Channel(control)).poller.run()


class Server:
    def __init__(self, channel: Channel) -> None:
        self.poller = Poller()
        self._channel = channel
        self._pods: dict[str, DnsPod] = {}
        self._directory: Directory | None = None
        self._names: Names | None = None
        self.poller.watch(channel.fileno(), self._control)

    def _control(self, _events: int) -> None:
        for message, fds in self._channel.waiting():
            getattr(self, f"_{message['op']}")(message, fds)
            self._channel.send({"done": message["id"]})
        if self._channel.closed:
            self.poller.stop()

    def _zone(self, message: Message, _fds: list[int]) -> None:
        old = self._directory.zone if self._directory else None
        zone = _newer(old, message["zone"])
        self._directory, self._names = Directory(zone), Names(zone)
        for pod in self._pods.values():
            pod.serve(self._directory, self._names)

    def _add(self, message: Message, fds: list[int]) -> None:
        self._remove(message, [])
        sockets = [(role, socket.socket(fileno=fd)) for role, fd in zip(message["roles"], fds, strict=True)]
        pod = self._pods[message["pod"]] = DnsPod(
            self.poller, message["address"], sockets, embedded=message["embedded"]
        )
        if self._directory and self._names:
            pod.serve(self._directory, self._names)

    def _remove(self, message: Message, _fds: list[int]) -> None:
        if pod := self._pods.pop(message["pod"], None):
            pod.close()


def _newer(old: DnsZone | None, new: DnsZone) -> DnsZone:
    """A zone that changed has a higher serial, also when the objects tell no later time (one was deleted)."""
    if old and replace(new, serial=old.serial) != old and new.serial <= old.serial:
        return replace(new, serial=old.serial + 1)
    return old if old and new.serial < old.serial else new
