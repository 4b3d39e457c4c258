"""Answers like `agnhost netexec`, the test server of Kubernetes' own conformance tests, over HTTP and UDP.

/shell, /upload and /dial are refused: the shared server has no file system, no shell and no sockets to dial with.
Source: kubernetes/kubernetes test/images/agnhost/netexec/netexec.go.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from emu.workloads import http
from emu.workloads.handler import BadArguments, Port, Served, SocketAddress, joined
from emu.workloads.http import BadRequest, Request, Response

HTTP_PORT, UDP_PORT = 8080, 8081
NOT_HERE = ("/shell", "/upload", "/dial")


class Netexec:
    def ports(self, argv: tuple[str, ...]) -> tuple[Port, ...]:
        flags = _flags(argv)
        udp = flags["udp-port"]
        return (Port("http", "tcp", flags["http-port"]), *((Port("udp", "udp", udp),) if udp != -1 else ()))

    def bind_failed(self, port: Port, error: OSError) -> str:
        what = (error.strerror or str(error)).lower()
        return f"{_stamp(time.time())} listen {port.kind} :{port.number}: bind: {what}"

    def started(self, served: Served) -> None:
        flags = _flags(served.argv)
        _log(served, f"Started HTTP server on port {flags['http-port']}")
        if served.has_udp:
            _log(served, f"Started UDP server on port  {flags['udp-port']}")

    def http(self, served: Served, request: Request, server: SocketAddress, client: SocketAddress) -> Response:
        page = PAGES.get(request.path, _root)
        if request.path in NOT_HERE:
            return _text(served, f"{request.path} is not served by the shared server\n", request, status=501)
        return page(served, request, client)

    def bad(self, served: Served, error: BadRequest, client: SocketAddress) -> Response:
        body = f"{error.status} {http.reason(error.status)}".encode()
        headers = (("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close"))
        return Response(status=error.status, headers=headers, body=body, close=True)

    def datagram(self, served: Served, data: bytes, client: SocketAddress) -> bytes | None:
        """Commands, and so what is echoed, are turned to lower case: the real one does that too."""
        text = data.decode("utf-8", "replace").strip().lower()
        if text == "hostname":
            _log(served, "Sending udp hostName response")
            return served.hostname.encode()
        if text.startswith("echo "):
            _log(served, f"Echoing {text[5:]} to UDP client {joined(client)}")
            return text[5:].encode()
        if text == "clientip":
            _log(served, f"Sending clientip back to UDP client {joined(client)}")
            return joined(client).encode()
        if text:
            _log(served, f"Unknown UDP command received from {joined(client)}: {text}")
        return None


def _root(served: Served, request: Request, client: SocketAddress) -> Response:
    _log(served, "GET /")
    now = served.now()
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e9):09d}"
    return _text(served, f"NOW: {text} +0000 UTC", request)


def _echo(served: Served, request: Request, client: SocketAddress) -> Response:
    message, code = request.form.get("msg", ""), request.form.get("code", "")
    _log(served, f"GET /echo?msg={message}&code={code}")
    if code and not _integer(code):
        return _text(served, f"argument 'code' must be an integer or empty, got {_quoted(code)}\n", request)
    return _text(served, message, request, status=int(code or 200))


def _clientip(served: Served, request: Request, client: SocketAddress) -> Response:
    _log(served, "GET /clientip")
    return _text(served, joined(client), request)


def _hostname(served: Served, request: Request, client: SocketAddress) -> Response:
    _log(served, f"GET {request.path}")
    return _text(served, served.hostname, request)


def _header(served: Served, request: Request, client: SocketAddress) -> Response:
    key = request.form.get("key", "")
    _log(served, f"GET /header?key={key}")
    return _text(served, request.headers.get(key.lower(), ""), request)


def _healthz(served: Served, request: Request, client: SocketAddress) -> Response:
    """Ready is who has a UDP server: with --udp-port=-1 the real one, too, is never ready."""
    _log(served, "GET /healthz")
    return _text(served, "", request, status=200 if served.has_udp else 412)


def _redirect(served: Served, request: Request, client: SocketAddress) -> Response:
    location, code = request.form.get("location", ""), request.form.get("code", "")
    _log(served, f"{request.method} /redirect?msg={location}&code={code}")
    if code and not _integer(code):
        return _text(served, f"argument 'code' must be an integer or empty, got {_quoted(code)}\n", request)
    return _text(served, "", request, status=int(code or 302), extra=(("Location", location),))


def _exit(served: Served, request: Request, client: SocketAddress) -> Response:
    """Ends at once, without an answer; `wait` and `timeout` are read and not waited for."""
    code = request.form.get("code", "")
    _log(served, f"GET /exit?code={code}&timeout={request.form.get('timeout', '')}&wait={request.form.get('wait', '')}")
    if code and not _integer(code):
        return _text(served, f"argument 'code' must be an integer [0-127] or empty, got {_quoted(code)}\n", request)
    served.exit(int(code or 0) & 0xFF)
    return Response(close=True)


def _shutdown(served: Served, request: Request, client: SocketAddress) -> Response:
    _log(served, "GET /shutdown")
    served.exit(0)
    return Response(close=True)


Page = Callable[[Served, Request, SocketAddress], Response]
PAGES: dict[str, Page] = {
    "/clientip": _clientip,
    "/echo": _echo,
    "/exit": _exit,
    "/header": _header,
    "/healthz": _healthz,
    "/hostname": _hostname,
    "/hostName": _hostname,
    "/redirect": _redirect,
    "/shutdown": _shutdown,
}


def _text(
    served: Served, text: str, request: Request, *, status: int = 200, extra: tuple[tuple[str, str], ...] = ()
) -> Response:
    kind = (("Content-Type", "text/plain; charset=utf-8"),) if text else ()
    close = () if request.keep else (("Connection", "close"),)
    headers = (*extra, ("Date", http.date(served.now())), *kind, *close)
    return Response(status=status, headers=headers, body=text.encode(), close=not request.keep)


def _flags(argv: tuple[str, ...]) -> dict[str, int]:
    """`--http-port=80`, `--http-port 80`. Raises BadArguments in the words of Go's flag library."""
    flags = {"http-port": HTTP_PORT, "udp-port": UDP_PORT}
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in flags:
            raise BadArguments(f"Error: unknown flag: {word}" if word.startswith("-") else f"unknown command {word}")
        if not equals and not words:
            raise BadArguments(f"Error: flag needs an argument: --{name}")
        value = value if equals else words.pop(0)
        if not _integer(value) or not -1 <= int(value) <= 65535:
            raise BadArguments(f'Error: invalid argument "{value}" for "--{name}" flag')
        flags[name] = int(value)
    return flags


def _integer(text: str) -> bool:
    return text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _log(served: Served, text: str) -> None:
    served.log(f"{_stamp(served.now())} {text}")


def _stamp(when: float) -> str:
    """Go's log package."""
    return time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(when))
