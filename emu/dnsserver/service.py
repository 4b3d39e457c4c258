"""The testbed's side of the DNS server process. One that is killed takes what it served with it, as a container's end;
whoever is served next has another one started."""

from __future__ import annotations

import logging
import select
import signal
import socket
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import Any

from emu.control import Channel
from emu.plan.dns import DnsZone

log = logging.getLogger(__name__)

OnExit = Callable[[int], None]


class DnsService:
    """Each call returns when it has taken effect; calls may come from several threads. `start` makes a server process
    and returns its control socket."""

    def __init__(self, start: Callable[[], socket.socket]) -> None:
        self._start, self._lock, self._id = start, Lock(), 0
        self._channel: Channel | None = None
        self._zone: DnsZone | None = None
        self._on_exit: dict[str, OnExit] = {}

    def zone(self, zone: DnsZone) -> None:
        """One that is not there will have it when it is started."""
        with self._lock:
            self._zone = zone
            self._call({"op": "zone", "zone": zone})

    def add(
        self,
        pod: str,
        address: str,
        sockets: Sequence[tuple[str, socket.socket]],
        *,
        embedded: bool = False,
        on_exit: OnExit = lambda _: None,
    ) -> None:
        """Sockets by role (`pod.ROLES`), bound in the Pod's netns. They are duplicated: close your own. `on_exit` is
        called, from another thread, if the server process ends. Raises OSError when there is none and none starts."""
        roles = [role for role, _ in sockets]
        message = {"op": "add", "pod": pod, "address": address, "embedded": embedded, "roles": roles}
        with self._lock:
            if self._channel is None:
                self._begin()
            if not self._call(message, [sock.fileno() for _, sock in sockets]):
                raise ConnectionError("the DNS server process has ended")
            self._on_exit[pod] = on_exit

    def remove(self, pod: str) -> None:
        """Its `on_exit` is not called."""
        with self._lock:
            self._on_exit.pop(pod, None)
            self._call({"op": "remove", "pod": pod})

    def close(self) -> None:
        """The server process ends."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel:
            channel.sock.shutdown(socket.SHUT_RDWR)

    def _begin(self) -> None:
        channel = self._channel = Channel(self._start())
        Thread(target=self._watch, args=(channel,), name="dns", daemon=True).start()
        if self._zone:
            self._call({"op": "zone", "zone": self._zone})

    def _call(self, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        """False if there is no server process, or none any more: what it served hears of it from the watching thread.
        The lock is held."""
        if self._channel is None:
            return False
        self._id += 1
        try:
            self._channel.send({**message, "id": self._id}, fds)
        except OSError:
            return False
        return self._channel.receive() is not None

    def _watch(self, channel: Channel) -> None:
        """Its end is seen at the socket, which nobody else holds."""
        ended = select.poll()
        ended.register(channel.fileno(), select.POLLRDHUP)
        ended.poll()
        with self._lock:
            expected = self._channel is not channel
            if not expected:
                self._channel = None
                served, self._on_exit = self._on_exit, {}
            channel.close()
        if expected:
            return
        log.error("the DNS server process has ended")
        for on_exit in served.values():
            on_exit(-signal.SIGKILL)
