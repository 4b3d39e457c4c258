"""The shared server process: one thread serves the containers of many Pods through sockets handed to it.

Messages on the control channel: {op: "add", id, handler, argv, hostname, roles} with a descriptor per role and the
log's as the last; {op: "remove", target, id}, which comes back as {done: id}. A container that ends by itself is told
as {exit: id, code}. `WorkloadService` (service.py) sends and receives them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from emu.control import Channel, Message
from emu.poller import READ, WRITE, Poller, allow_many_descriptors
from emu.workloads import http
from emu.workloads.handler import Handler, Served
from emu.workloads.handlers import HANDLERS

KEEPALIVE_S = 65.0  # nginx.conf of the image; also the time for a request to arrive
SWEEP_S = 5.0
DATAGRAM_MAX = 2048  # bytes; netexec's buffer
BURST = 64  # connections or datagrams of one socket before the others have their turn
UNSENT_MAX = 4 * 1024 * 1024  # bytes


def main(control: socket.socket) -> None:
    """Serve until the control channel is closed."""
    allow_many_descriptors()
    Server(Channel(control)).poller.run()


class _Container:
    """Kept small: there may be thousands."""

    __slots__ = ("handler", "log_fd", "served", "sockets")

    def __init__(self, handler: Handler, served: Served, sockets: tuple[socket.socket, ...], log_fd: int) -> None:
        self.handler, self.served, self.sockets, self.log_fd = handler, served, sockets, log_fd


class Server:
    def __init__(self, channel: Channel, now: Callable[[], float] = time.time) -> None:
        self.poller = Poller()
        self._channel, self._now = channel, now
        self._containers: dict[int, _Container] = {}
        self.open: set[_Connection] = set()
        self._sweeping = False
        self.poller.watch(channel.fileno(), self._control)

    def _control(self, _events: int) -> None:
        for message, fds in self._channel.waiting():
            getattr(self, f"_{message['op']}")(message, fds)
        if self._channel.closed:
            self.poller.stop()

    def _add(self, message: Message, fds: list[int]) -> None:
        *numbers, log_fd = fds
        roles, key = message["roles"], message["id"]
        sockets = tuple(socket.socket(fileno=number) for number in numbers)
        served = Served(
            message["hostname"],
            message["argv"],
            partial(_write_line, log_fd),
            partial(self._ended, key),
            has_udp="udp" in roles,
            now=self._now,
        )
        container = _Container(HANDLERS[message["handler"]], served, sockets, log_fd)
        self._containers[key] = container
        for sock in sockets:
            sock.setblocking(False)
            accept = sock.type == socket.SOCK_STREAM
            self.poller.watch(sock.fileno(), partial(self._accept if accept else self._datagrams, container, sock))
        container.handler.started(served)

    def _remove(self, message: Message, _fds: list[int]) -> None:
        self._close(message["target"])
        self._channel.send({"done": message["id"]})

    def _close(self, key: int) -> None:
        if container := self._containers.pop(key, None):
            for connection in [each for each in self.open if each.container is container]:
                connection.close()
            for sock in container.sockets:
                self.poller.forget(sock.fileno())
                sock.close()
            os.close(container.log_fd)

    def _ended(self, key: int, code: int) -> None:
        """Closed in a turn of its own: the connection that asked for it is still being handled."""
        self.poller.after(0, lambda: self._end(key, code))

    def _end(self, key: int, code: int) -> None:
        if key in self._containers:
            self._close(key)
            self._channel.send({"exit": key, "code": code})

    def _accept(self, container: _Container, listener: socket.socket, _events: int) -> None:
        try:
            for _ in range(BURST):
                sock, client = listener.accept()
                self.open.add(_Connection(self, container, sock, client))
                self._sweep_later()
        except OSError:  # nobody waits any more, or the client has gone already
            return

    def _sweep(self) -> None:
        """Close the silent ones. One timer for all: a timer per request would outlive it by a minute."""
        for connection in [each for each in self.open if each.since < self.poller.clock() - KEEPALIVE_S]:
            connection.close()
        self._sweeping = False
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self.open and not self._sweeping:
            self._sweeping = True
            self.poller.after(SWEEP_S, self._sweep)

    def _datagrams(self, container: _Container, sock: socket.socket, _events: int) -> None:
        try:
            for _ in range(BURST):
                data, client = sock.recvfrom(DATAGRAM_MAX)
                reply = container.handler.datagram(container.served, data, client)
                if reply is not None:
                    sock.sendto(reply, client)
        except OSError:  # nothing left; or the reply cannot leave now, and is lost like any datagram
            return


class _Connection:
    __slots__ = ("_client", "_input", "_interest", "_output", "_server", "_sock", "_until_sent", "container", "since")

    def __init__(self, server: Server, container: _Container, sock: socket.socket, client: Any) -> None:
        sock.setblocking(False)
        self._server, self.container, self._sock, self._client = server, container, sock, client[:2]
        self._input, self._output = bytearray(), bytearray()
        self._until_sent = False  # close once the output is out
        self._interest = READ
        self.since = server.poller.clock()  # the last sign of life
        server.poller.watch(sock.fileno(), self._ready)

    def close(self) -> None:
        self._server.poller.forget(self._sock.fileno())
        self._sock.close()
        self._server.open.discard(self)

    def _ready(self, events: int) -> None:
        self.since = self._server.poller.clock()
        try:
            if events & ~WRITE and not self._until_sent:
                self._input += (data := self._sock.recv(65536))
                self._until_sent = not data
            self._process()
            self._send()
        except OSError:  # reset by the client
            self.close()

    def _process(self) -> None:
        container, server = self.container, self._sock.getsockname()[:2]
        while self._input and not self._until_sent and len(self._output) < UNSENT_MAX:
            try:
                request = http.parse(self._input)
            except http.BadRequest as error:
                self._answer(container.handler.bad(container.served, error, self._client))
                return
            if request is None:
                return
            response = container.handler.http(container.served, request, server, self._client)
            self._answer(response, request.version, head=request.method == "HEAD")

    def _answer(self, response: http.Response, version: str = "HTTP/1.1", *, head: bool = False) -> None:
        self._output += http.render(response, version=version, head=head)
        self._until_sent |= response.close

    def _send(self) -> None:
        if self._output:
            try:
                del self._output[: self._sock.send(self._output)]
            except BlockingIOError:
                pass
        if self._until_sent and not self._output:
            self.close()
            return
        reads = not self._until_sent and len(self._output) < UNSENT_MAX
        interest = (READ if reads else 0) | (WRITE if self._output else 0)
        if interest != self._interest:
            self._interest = interest
            self._server.poller.change(self._sock.fileno(), interest)


def _write_line(fd: int, text: str) -> None:
    try:
        os.write(fd, text.encode("utf-8", "replace") + b"\n")
    except OSError:  # a full disk must not end the server
        pass
