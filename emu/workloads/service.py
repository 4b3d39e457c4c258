"""The testbed's side of the shared server process. One that is killed takes what it served with it, as the containers'
end; what is served next has another one started."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from threading import Event, Lock, Thread

from emu.control import Channel, Message

log = logging.getLogger(__name__)


class WorkloadService:
    """`start` makes a server process and returns its control socket. Calls may come from several threads; `on_exit` is
    called from a thread of this object's own."""

    def __init__(self, start: Callable[[], socket.socket]) -> None:
        self._start, self._lock, self._ids = start, Lock(), count(1)
        self._process: _Process | None = None

    def add(
        self,
        handler: str,
        argv: Sequence[str],
        hostname: str,
        sockets: Sequence[tuple[str, socket.socket]],
        *,
        log_fd: int,
        on_exit: Callable[[int], None],
    ) -> int:
        """Serve a container. The descriptors are duplicated: close your own. Returns what `remove` wants, at once: who
        connects before the server has read the message waits in the listening socket's queue. Raises OSError when there
        is no server process and none starts."""
        key = next(self._ids)
        what = {"handler": handler, "argv": tuple(argv), "hostname": hostname, "roles": [role for role, _ in sockets]}
        message, fds = {"op": "add", "id": key, **what}, [*(sock.fileno() for _, sock in sockets), log_fd]
        with self._lock:
            if self._process is None or not self._process.add(key, message, fds, on_exit):
                self._process = _Process(self._start())
                if not self._process.add(key, message, fds, on_exit):
                    raise ConnectionError("the workload server process has ended")
        return key

    def remove(self, key: int) -> None:
        """Returns when its sockets are closed; `on_exit` is not called. Harmless for one that has ended."""
        with self._lock:
            process = self._process
        if process:
            process.remove(key, next(self._ids))

    def close(self) -> None:
        """The server process ends."""
        with self._lock:
            process, self._process = self._process, None
        if process:
            process.close()


class _Process:
    """A server process, as long as it lives."""

    def __init__(self, control: socket.socket) -> None:
        self._channel, self._lock = Channel(control), Lock()
        self._done: dict[int, Event] = {}
        self._on_exit: dict[int, Callable[[int], None]] = {}
        self._closing = self._gone = False
        Thread(target=self._read, name="workloads", daemon=True).start()

    def add(self, key: int, message: Message, fds: Sequence[int], on_exit: Callable[[int], None]) -> bool:
        """False when it has ended."""
        with self._lock:
            if self._gone:
                return False
            self._on_exit[key] = on_exit
        try:
            self._channel.send(message, fds)
        except OSError:
            with self._lock:
                self._on_exit.pop(key, None)
            return False
        return True

    def remove(self, key: int, ident: int) -> None:
        event = Event()
        with self._lock:
            self._on_exit.pop(key, None)
            if self._gone:
                return
            self._done[ident] = event
        with suppress(OSError):  # the reading thread hears of it too
            self._channel.send({"op": "remove", "target": key, "id": ident})
        event.wait()

    def close(self) -> None:
        with self._lock, suppress(OSError):
            self._closing = True
            self._channel.sock.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        while received := self._channel.receive():
            message, _ = received
            with self._lock:
                event = self._done.pop(message.get("done", 0), None)
                on_exit = self._on_exit.pop(message.get("exit", 0), None)
            if event:
                event.set()
            elif on_exit:
                on_exit(message["code"])
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._gone = True
            served, waiting = list(self._on_exit.values()), list(self._done.values())
            self._channel.close()
        for event in waiting:
            event.set()
        if self._closing:
            return
        log.error("the workload server process has ended")
        for on_exit in served:
            on_exit(-signal.SIGKILL)
