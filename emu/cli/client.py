"""The client's side of api.sock: requests, answers, and the server's errors raised here as what they were."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from emu.errors import EmuError, revived

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket that is open already."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("testbed")
        self.sock = sock

    def connect(self) -> None:
        raise EmuError("the testbed has closed the connection")


class Client:
    """Of one testbed. Every request opens a connection: they are cheap, and a watch keeps its own."""

    def __init__(self, name: str, directory: Path, timeout_s: float | None = None) -> None:
        self.name, self.directory, self.timeout_s = name, directory, timeout_s

    def get(self, path: str, query: Mapping[str, str] | None = None, *, table: bool = False) -> Any:
        return json.loads(self._ask("GET", path, query, accept=TABLE if table else "application/json").read())

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        text: str = self._ask("GET", path, query).read().decode(errors="replace")
        return text

    def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        return json.loads(self._ask(method, path, body=body, content_type=content_type).read())

    def watch(self, path: str, query: Mapping[str, str], *, table: bool = False) -> Iterator[dict[str, Any]]:
        answer = self._ask("GET", path, {**query, "watch": "true"}, accept=TABLE if table else "application/json")
        while line := answer.readline():
            event: dict[str, Any] = json.loads(line)
            if event["type"] == "ERROR":
                raise error_of(event["object"])
            yield event

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """An answer's bytes as they come."""
        answer = self._ask("GET", path, query)
        while data := answer.read1(65536):
            yield data

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> http.client.HTTPResponse:
        given = {key: value for key, value in (query or {}).items() if value}
        url = f"{path}?{urlencode(given)}" if given else path
        headers = {"Accept": accept, "Content-Type": content_type}
        connection = _Connection(self._connect("api.sock"))
        try:
            connection.request(method, url, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise EmuError(f"testbed {self.name} does not answer: {error}", hint="emu ls") from error
        if answer.status >= 400:
            raise error_of(_document(answer.read()))
        return answer

    def _connect(self, which: str) -> socket.socket:
        from emu.kernel import runtime_dir

        connection = runtime_dir.connect(self.name, self.directory, which)
        connection.settimeout(self.timeout_s)
        return connection

    def attach(self) -> socket.socket:
        return self._connect("attach.sock")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(body)
    except ValueError:
        return {"message": body.decode(errors="replace")}
    return document


def error_of(status: Mapping[str, Any]) -> EmuError:
    """A Kubernetes `Status` as the error it was. What kubectl announces as the server's word is announced so too."""
    cause = ((status.get("details") or {}).get("causes") or [{}])[0]
    message, reason = str(status.get("message", "")), status.get("reason", "")
    if reason in ("NotFound", "AlreadyExists", "Conflict", "Expired"):
        message = f"Error from server ({reason}): {message}"
    return revived(str(cause.get("field", "")), message, str(cause.get("message", "")))
