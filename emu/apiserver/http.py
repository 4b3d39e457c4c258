"""HTTP/1.1 on a listening socket that is handed in: a thread a connection, a request in, an answer out."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs, urlsplit

from emu.apiserver.status import ApiError, status
from emu.errors import EmuError

log = logging.getLogger(__name__)

MOST_BYTES = 64 << 20  # of a request's body


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    accept: str = ""
    content_type: str = ""
    body: bytes = b""

    def json(self) -> Any:
        try:
            return json.loads(self.body or b"{}")
        except ValueError as error:
            raise ApiError(400, "BadRequest", f"the request's body is not JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: a JSON document a line. None only asks whether somebody still reads."""

    documents: Iterator[dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Created:
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bytes:
    """An answer that goes on: plain text as it comes. Empty pieces as None in `Stream`."""

    pieces: Iterator[bytes]


Answer = dict[str, Any] | Text | Stream | Bytes | Created
Route = Callable[[Request], Answer]


class HttpServer(ThreadingMixIn, BaseServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, answer: Route) -> None:
        handler: Any = Handler
        super().__init__(listener.getsockname(), handler)
        self.listener, self.answer = listener, answer

    def fileno(self) -> int:
        return self.listener.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        return self.listener.accept()

    def shutdown_request(self, request: Any) -> None:
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("a connection failed")

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(3600,), name="api", daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one write
    server: HttpServer

    def setup(self) -> None:
        self.connection = self.request
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            self.wfile.close()
        self.rfile.close()

    def do_GET(self) -> None:
        self._answer(self._called())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _called(self) -> Answer:
        try:
            return self.server.answer(self._read())
        except (EmuError, Exception) as error:
            if not isinstance(error, EmuError):
                log.exception("%s %s", self.command, self.path)
            return status(error)

    def _read(self) -> Request:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MOST_BYTES:
            self.close_connection = True
            raise ApiError(413, "RequestEntityTooLarge", f"the request has {length} bytes, {MOST_BYTES} at most")
        url = urlsplit(self.path)
        return Request(
            method=self.command,
            path=url.path,
            query={key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()},
            accept=self.headers.get("Accept", ""),
            content_type=self.headers.get("Content-Type", ""),
            body=self.rfile.read(length) if length else b"",
        )

    def _is_read(self) -> bool:
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _answer(self, answer: Answer) -> None:
        match answer:
            case Text(text):
                self._whole(200, "text/plain; charset=utf-8", text.encode())
            case Stream(documents):
                lines = (b"" if each is None else json.dumps(each).encode() + b"\n" for each in documents)
                self._stream("application/json", lines)
            case Bytes(pieces):
                self._stream("text/plain; charset=utf-8", pieces)
            case Created(document):
                self._whole(201, "application/json", json.dumps(document).encode())
            case _:
                is_failure = answer.get("kind") == "Status" and answer.get("status") == "Failure"
                code = int(answer["code"]) if is_failure else 200
                self._whole(code, "application/json", json.dumps(answer).encode())

    def _whole(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _stream(self, content_type: str, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        for piece in pieces:
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            elif not self._is_read():
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def address_string(self) -> str:
        return "client"
