"""The HTTP ports of CoreDNS: /health on 8080, /ready on 8181, /metrics on 9153.
Source: coredns plugin/health, plugin/ready."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from email.utils import formatdate

from emu.poller import Poller

IDLE_S = 5.0
REQUEST_MAX = 8192  # bytes
Page = Callable[[], tuple[int, str]]
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}


class StatusPort:
    """A listener that answers GET for its few paths; one request per connection."""

    def __init__(self, poller: Poller, listener: socket.socket, pages: Mapping[str, Page]) -> None:
        listener.setblocking(False)
        self._poller, self._listener, self._pages = poller, listener, pages
        poller.watch(listener.fileno(), self._accept)

    def close(self) -> None:
        self._poller.forget(self._listener.fileno())
        self._listener.close()

    def _accept(self, _events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        received = bytearray()
        timer = self._poller.after(IDLE_S, lambda: self._close(connection))

        def readable(_events: int) -> None:
            try:
                data = connection.recv(REQUEST_MAX)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            received.extend(data)
            if not data or b"\r\n\r\n" in received or len(received) > REQUEST_MAX:
                timer.cancel()
                self._reply(connection, bytes(received))

        self._poller.watch(connection.fileno(), readable)

    def _reply(self, connection: socket.socket, request: bytes) -> None:
        words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) == 3:
            page = self._pages.get(words[1].split("?")[0])
            status, text = page() if page else (404, "404 page not found\n")
            try:
                connection.send(_response(status, text, body=words[0] != "HEAD"))
            except OSError:  # the asker has gone
                pass
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._poller.forget(connection.fileno())
        connection.close()


def _response(status: int, text: str, *, body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Length: {len(text)}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    )
    return (head + (text if body else "")).encode()
