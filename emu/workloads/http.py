"""HTTP/1.1 requests from bytes, and responses to bytes; no input or output. Source: RFC 9112.

Small on purpose: a body is read only as far as its length is declared, and everything doubtful is a 400.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

HEAD_MAX = 16 * 1024  # bytes
BODY_MAX = 1024 * 1024  # bytes
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class BadRequest(Exception):
    def __init__(self, status: int = 400, line: str = "") -> None:
        super().__init__(status)
        self.status, self.line = status, line


class Request(NamedTuple):
    """`headers` have lower-case names; `keep` says whether the connection stays open."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]
    body: bytes
    keep: bool

    @property
    def line(self) -> str:
        return f"{self.method} {self.target} {self.version}"

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def form(self) -> dict[str, str]:
        """The first value of each field: those of a form in the body before those of the query, as in Go."""
        query = urlsplit(self.target).query
        if self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            query = f"{self.body.decode('latin-1')}&{query}"
        return dict(reversed(parse_qsl(query, keep_blank_values=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """`headers` are sent in this order; a Content-Length is put before Connection unless `chunked`."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunked: bool = False
    close: bool = False


def parse(received: bytearray) -> Request | None:
    """Take the first request off the front of `received`; None when it is not complete. Raises BadRequest."""
    while received.startswith(b"\r\n"):  # RFC 9112 2.2: empty lines before a request are ignored
        del received[:2]
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > HEAD_MAX:
            raise BadRequest(414 if b"\r\n" not in received[:HEAD_MAX] else 400)
        _check_start(received)
        return None
    line, *fields = received[:end].decode("latin-1").split("\r\n")
    method, target, version = _request_line(line)
    headers = _headers(fields, line)
    body, used = _body(headers, memoryview(received)[end + 4 :], line)
    if used < 0:
        return None
    del received[: end + 4 + used]
    wish = headers.get("connection", "").lower()
    keep = wish == "keep-alive" if version == "HTTP/1.0" else wish != "close"
    return Request(method, target, version, headers, body, keep)


def _check_start(received: bytearray) -> None:
    """Refuse at once what can never become a request: a TLS hello, say."""
    first = received.split(b"\r\n", 1)[0][:16].decode("latin-1")
    if not all(character in TOKEN for character in first.split(" ", 1)[0]):
        raise BadRequest(line=first)


def _request_line(line: str) -> tuple[str, str, str]:
    words = line.split(" ")
    if len(words) != 3 or not words[0] or not all(character in TOKEN for character in words[0]):
        raise BadRequest(line=line)
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505 if version.startswith("HTTP/") else 400, line)
    if not target.startswith(("/", "http://")) and target != "*":
        raise BadRequest(line=line)
    return method, target, version


def _headers(fields: list[str], line: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon or not name or not all(character in TOKEN for character in name):
            raise BadRequest(line=line)
        if name.lower() in ("host", "content-length") and name.lower() in headers:
            raise BadRequest(line=line)
        headers[name.lower()] = value.strip(" \t")
    if line.endswith("HTTP/1.1") and "host" not in headers:
        raise BadRequest(line=line)
    return headers


def _body(headers: Mapping[str, str], rest: memoryview, line: str) -> tuple[bytes, int]:
    """The body and how many bytes it took, -1 if more must come."""
    if coding := headers.get("transfer-encoding", ""):
        if coding.lower() != "chunked" or "content-length" in headers:
            raise BadRequest(line=line)
        return _chunks(bytes(rest), line)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise BadRequest(line=line)
    if int(length) > BODY_MAX:
        raise BadRequest(413, line)
    return (bytes(rest[: int(length)]), int(length)) if len(rest) >= int(length) else (b"", -1)


def _chunks(data: bytes, line: str) -> tuple[bytes, int]:
    body, at = b"", 0
    while (end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:end].split(b";")[0], 16)
        except ValueError:
            raise BadRequest(line=line) from None
        if size < 0 or len(body) + size > BODY_MAX:
            raise BadRequest(413, line)
        at = end + 2 + size + 2
        if len(data) < at:
            return b"", -1
        if data[at - 2 : at] != b"\r\n":
            raise BadRequest(line=line)  # trailer fields included: nobody here sends them
        if not size:
            return body, at
        body += data[end + 2 : end + 2 + size]
    return b"", -1


def render(response: Response, *, version: str = "HTTP/1.1", head: bool = False) -> bytes:
    """The response's bytes; for a HEAD request without the body."""
    chunked = response.chunked and version == "HTTP/1.1"
    headers = list(response.headers)
    before = next((at for at, (name, _) in enumerate(headers) if name == "Connection"), len(headers))
    if chunked and not head:
        headers.insert(before, ("Transfer-Encoding", "chunked"))
    elif not response.chunked:
        headers.insert(before, ("Content-Length", str(len(response.body))))
    fields = (f"{name}: {value}".replace("\r", " ").replace("\n", " ") for name, value in headers)
    lines = (f"HTTP/1.1 {response.status} {reason(response.status)}", *fields)
    text = "\r\n".join((*lines, "", "")).encode("latin-1", "replace")
    if head or not chunked:
        return text + (b"" if head else response.body)
    return text + f"{len(response.body):x}\r\n".encode() + response.body + b"\r\n0\r\n\r\n"


def reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def date(when: float) -> str:
    """`Mon, 01 Jan 2024 00:00:00 GMT`."""
    return formatdate(when, usegmt=True)
