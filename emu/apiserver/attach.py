"""attach.sock: requests that come with file descriptors. One request a connection, a JSON document a line each way.

client → server   {"do": "exec", …} and its descriptors
client → server   end of file: the client wants it to end, or has gone
server → client   {"progress": [text, done, total]} …, {"started": [point, …]}, then {"result": …} or an error's Status
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from emu.apiserver.results import trace_answer, verify_answer
from emu.apiserver.status import ApiError, status
from emu.apiserver.testbed import Fds, Program, Testbed
from emu.errors import EmuError

log = logging.getLogger(__name__)

MOST_FDS, MOST_BYTES = 3, 1 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """A request with its descriptors. `until` is set when the client has gone or wants an end."""

    testbed: Testbed
    request: dict[str, Any]
    fds: list[int]
    until: threading.Event
    tell: Callable[[Mapping[str, object]], None]

    def three(self) -> Fds:
        if len(self.fds) != 3:
            raise ApiError(400, "BadRequest", f"{len(self.fds)} file descriptors came, must be 3")
        return self.fds[0], self.fds[1], self.fds[2]

    def one(self) -> int:
        if len(self.fds) != 1:
            raise ApiError(400, "BadRequest", f"{len(self.fds)} file descriptors came, must be 1")
        return self.fds[0]


def run_program(call: Call) -> Any:
    """Its exit status."""
    request = call.request
    code = call.testbed.exec(
        request["target"],
        tuple(request["argv"]),
        call.three(),
        bool(request.get("tty")),
        request.get("container", ""),
        started=partial(_hang_up, call.until),
    )
    return _as_shell(code)


def prompt(call: Call) -> Any:
    """Its exit status."""
    request, hang_up = call.request, partial(_hang_up, call.until)
    script = request.get("script")
    return _as_shell(call.testbed.prompt(call.three(), script, tty=bool(request.get("tty")), started=hang_up))


def _hang_up(until: threading.Event, program: Program) -> None:
    """Who interrupts the client of a program, or kills it, means the program."""

    def end() -> None:
        until.wait()
        program.signal(signal.SIGHUP, group=True)

    threading.Thread(target=end, name="hang-up", daemon=True).start()


def _as_shell(code: int) -> int:
    """128 and the signal's number when one has ended it."""
    return 128 - code if code < 0 else code


def capture(call: Call) -> Any:
    """Drops by capture point."""
    selectors = tuple(call.request.get("selectors", ()))

    def armed(points: Sequence[str]) -> None:
        call.tell({"started": list(points)})

    return dict(call.testbed.capture(selectors, call.one(), call.until, armed))


def verify(call: Call) -> Any:
    def progress(text: str, done: int, total: int) -> None:
        if call.until.is_set():
            raise EmuError("verify was interrupted")
        call.tell({"progress": [text, done, total]})

    results = call.testbed.verify(progress, call.one() if call.fds else None)
    assert call.testbed.plan is not None
    return verify_answer(
        results, call.testbed.plan, color=bool(call.request.get("color")), hops=bool(call.request.get("hops"))
    )


def trace(call: Call) -> Any:
    """With a descriptor: all that passes meanwhile goes there as pcapng."""
    request = call.request
    with _recording(call) if call.fds else nullcontext():
        result = call.testbed.trace(
            request["source"],
            request["target"],
            tuple(request.get("command", ())),
            request.get("proto", ""),
            size=request.get("size"),
            df=bool(request.get("df")),
            family=request.get("family", 0),
            started=partial(_hang_up, call.until),
        )
    return trace_answer(result, color=bool(request.get("color")))


@contextmanager
def _recording(call: Call) -> Iterator[None]:
    """Every point is recorded within the block."""
    armed, until = threading.Event(), threading.Event()

    def record() -> None:
        try:
            call.testbed.capture(("all",), call.one(), until, lambda _: armed.set())
        finally:
            armed.set()

    with ThreadPoolExecutor(1) as pool:
        recording = pool.submit(record)
        armed.wait()
        try:
            yield
        finally:
            until.set()
        recording.result()


DOES: Mapping[str, Callable[[Call], Any]] = {
    "exec": run_program,
    "prompt": prompt,
    "capture": capture,
    "trace": trace,
    "verify": verify,
}


def start(listener: socket.socket, testbed: Testbed) -> None:
    threading.Thread(target=_accept, args=(listener, testbed), name="attach", daemon=True).start()


def _accept(listener: socket.socket, testbed: Testbed) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, testbed), name="attached", daemon=True).start()


def _serve(connection: socket.socket, testbed: Testbed) -> None:
    fds: list[int] = []
    with connection:
        connection.setblocking(True)

        def tell(message: Mapping[str, object]) -> None:
            with suppress(OSError):
                connection.sendall(json.dumps(message).encode() + b"\n")

        try:
            request, fds = _receive(connection)
            until = threading.Event()
            threading.Thread(target=_watch, args=(connection, until), name="attached-end", daemon=True).start()
            tell({"result": _do(Call(testbed, request, fds, until, tell))})
        except Exception as error:
            if not isinstance(error, EmuError):
                log.exception("attach.sock")
            tell(status(error))
        finally:
            for fd in fds:
                os.close(fd)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _do(call: Call) -> Any:
    wanted = str(call.request.get("do"))
    if wanted not in DOES:
        raise ApiError(400, "BadRequest", f"do is {wanted}, must be one of {', '.join(DOES)}")
    return DOES[wanted](call)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, fds = b"", []
    try:
        while not data.endswith(b"\n"):
            more, came, _, _ = socket.recv_fds(connection, 65536, MOST_FDS)
            fds += came
            data += more
            if not more or len(data) > MOST_BYTES:
                raise ApiError(400, "BadRequest", "the request is not a whole line")
        for fd in fds:
            os.set_inheritable(fd, False)
        return json.loads(data), fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _watch(connection: socket.socket, until: threading.Event) -> None:
    """Whatever comes after the request means: end it. So does our own closing."""
    with suppress(OSError):
        connection.recv(1)
    until.set()
