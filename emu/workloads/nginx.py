"""Answers like the images nginxdemos/hello and nginxdemos/hello:plain-text: nginx with one page about itself.

Source: nginxinc/NGINX-Demos nginx-hello/hello.conf and hello-plain-text.conf; nginx's own log format and error pages.
"""

from __future__ import annotations

import re
import secrets
import time
from html import escape

from emu.workloads import http
from emu.workloads.handler import BadArguments, Port, Served, SocketAddress, plain
from emu.workloads.http import BadRequest, Request, Response

SERVER = "nginx/1.27.4"
UNSAFE = re.compile(r'[^ -~]|["\\]')
PAGE = """\
<!DOCTYPE html>
<html>
<head>
<title>Hello World</title>
<style>
body {{ margin: 0; font: 20px Arial, sans-serif; color: #0f1419; }}
div.info {{ display: table; background: #e8eaec; padding: 20px; border: 1px dashed black; border-radius: 10px;
  margin: 36px auto; }}
div.info p {{ display: table-row; }}
div.info p span {{ display: table-cell; padding: 10px; }}
#footer {{ text-align: center; font: 12px Courier; }}
</style>
</head>
<body>
<div class="info">
<p><span>Server&nbsp;address:</span> <span>{address}</span></p>
<p><span>Server&nbsp;name:</span> <span>{name}</span></p>
<p class="smaller"><span>Date:</span> <span>{date}</span></p>
<p class="smaller"><span>URI:</span> <span>{uri}</span></p>
</div>
<div id="footer">Request ID: {request_id}</div>
</body>
</html>
"""
LINES = "Server address: {address}\nServer name: {name}\nDate: {date}\nURI: {uri}\nRequest ID: {request_id}\n"
ERROR_PAGE = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    "<hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
)


class Hello:
    """`plain_text`: the image's tag of that name."""

    def __init__(self, *, plain_text: bool = False) -> None:
        self._plain_text = plain_text

    def ports(self, argv: tuple[str, ...]) -> tuple[Port, ...]:
        if argv:
            raise BadArguments(f'nginx: invalid option: "{argv[0]}"')
        return (Port("http", "tcp", 80),)

    def bind_failed(self, port: Port, error: OSError) -> str:
        what = f"bind() to 0.0.0.0:{port.number} failed ({error.errno}: {error.strerror})"
        return f"nginx: [emerg] {what}\nnginx: [emerg] still could not bind()"

    def started(self, served: Served) -> None:
        """nginx says nothing on a start that succeeds."""

    def http(self, served: Served, request: Request, server: SocketAddress, client: SocketAddress) -> Response:
        if self._plain_text or request.method in ("GET", "HEAD"):
            response = self._page(served, request, server)
        else:
            response = _error(served, 405, keep=request.keep)
        _access(served, request.line, response, client, request)
        return response

    def bad(self, served: Served, error: BadRequest, client: SocketAddress) -> Response:
        response = _error(served, error.status, keep=False)
        _access(served, error.line, response, client)
        return response

    def datagram(self, served: Served, data: bytes, client: SocketAddress) -> bytes | None:
        return None

    def _page(self, served: Served, request: Request, server: SocketAddress) -> Response:
        """The HTML is filtered on its way out (`sub_filter`): nginx cannot tell its length, and sends it in chunks."""
        now = served.now()
        host, port = plain(server)
        values = {
            "address": f"{host}:{port}",
            "name": served.hostname,
            "date": local_time(now),
            "uri": request.target if self._plain_text else escape(request.target),
            "request_id": secrets.token_hex(16),
        }
        headers = (
            *_headers(now, "text/plain" if self._plain_text else "text/html", keep=request.keep),
            ("Expires", http.date(now - 1)),
            ("Cache-Control", "no-cache"),
        )
        text = (LINES if self._plain_text else PAGE).format(**values)
        return Response(headers=headers, body=text.encode(), chunked=not self._plain_text, close=not request.keep)


def _headers(now: float, kind: str, *, keep: bool) -> tuple[tuple[str, str], ...]:
    return (
        ("Server", SERVER),
        ("Date", http.date(now)),
        ("Content-Type", kind),
        ("Connection", "keep-alive" if keep else "close"),
    )


def _error(served: Served, status: int, *, keep: bool) -> Response:
    reasons = {405: "Not Allowed", 413: "Request Entity Too Large", 414: "Request-URI Too Large"}
    title = f"{status} {reasons.get(status) or http.reason(status)}"
    body = ERROR_PAGE.format(title=title, server=SERVER).encode()
    return Response(status=status, headers=_headers(served.now(), "text/html", keep=keep), body=body, close=not keep)


def _access(
    served: Served, line: str, response: Response, client: SocketAddress, request: Request | None = None
) -> None:
    """The format `main` of the image's nginx.conf; nginx escapes what would break a line or a quotation."""
    headers = request.headers if request else {}
    size = 0 if request and request.method == "HEAD" else len(response.body)
    fields = (line, *(headers.get(name, "-") for name in ("referer", "user-agent", "x-forwarded-for")))
    quoted = ['"' + UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02X}", field) + '"' for field in fields]
    head = f"{plain(client)[0]} - - [{local_time(served.now())}] {quoted[0]} {response.status} {size} "
    served.log(head + " ".join(quoted[1:]))


def local_time(when: float) -> str:
    """nginx's $time_local: `01/Jan/2024:00:00:00 +0000`. Containers run in UTC."""
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(when))
