"""One attempt of a probe: a connection from the Pod's Node, or a program in the Pod. Nothing waits here: the result
comes back by a call. Source: kubernetes pkg/probe/{http,tcp,exec}."""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from emu.api.objects import ContainerPort, HTTPGetAction, IntOrString, Probe
from emu.errors import EmuError
from emu.plan.model import PodSandbox, Process
from emu.poller import READ, WRITE, Poller
from emu.workloads.runtime import Handle, Runtime

USER_AGENT = "kube-probe/1.30"
BODY_MAX = 10 * 1024  # bytes of a response that the kubelet reads
Result = Callable[[bool], None]


def port_number(port: IntOrString, ports: Sequence[ContainerPort]) -> int:
    """A number, or the container's port of that name; 0 when there is none, which no connection reaches."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    return next((each.container_port for each in ports if each.name == port), 0)


def http_request(action: HTTPGetAction, host: str, port: int) -> bytes:
    """Headers of the probe replace those the kubelet sends by itself."""
    own = {header.name.lower(): header for header in action.http_headers}
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    lines = [f"GET {path} HTTP/1.1", f"Host: {own['host'].value if 'host' in own else address}"]
    for name, value in (("User-Agent", USER_AGENT), ("Accept", "*/*")):
        if name.lower() not in own:
            lines.append(f"{name}: {value}")
    lines += [f"{header.name}: {header.value}" for key, header in own.items() if key not in ("host", "connection")]
    return "\r\n".join((*lines, "Connection: close", "", "")).encode()


class Dial:
    """A TCP connection; with `request`, an HTTP exchange that must end with a status from 200 to 399."""

    def __init__(
        self, poller: Poller, sock: socket.socket, request: bytes, result: Result, *, tls: bool = False
    ) -> None:
        self._poller, self._sock, self._request, self._result, self._tls = poller, sock, request, result, tls
        self._received = bytearray()

    def to(self, host: str, port: int, timeout_s: float) -> None:
        self._timer = self._poller.after(timeout_s, lambda: self._end(False))
        self._poller.watch(self._sock.fileno(), self._connected, WRITE)
        code = self._sock.connect_ex((host, port))
        if code not in (0, errno.EINPROGRESS):
            self._end(False)

    def cancel(self) -> None:
        """The result is not told."""
        self._result = _ignore
        self._end(False)

    def _connected(self, _events: int) -> None:
        failed = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        if failed or not self._request:
            self._end(not failed)
            return
        if self._tls:
            self._sock = _unverified().wrap_socket(self._sock, do_handshake_on_connect=False)
        self._speak(0)

    def _speak(self, _events: int) -> None:
        """Shake hands if that is needed, and send the request."""
        fd = self._sock.fileno()
        self._poller.forget(fd)
        try:
            if isinstance(self._sock, ssl.SSLSocket):
                self._sock.do_handshake()
            self._sock.send(self._request)
            self._poller.watch(fd, self._readable, READ)
        except ssl.SSLWantReadError:
            self._poller.watch(fd, self._speak, READ)
        except ssl.SSLWantWriteError:
            self._poller.watch(fd, self._speak, WRITE)
        except OSError:
            self._end(False)

    def _readable(self, _events: int) -> None:
        try:
            data = self._sock.recv(65536)
            while isinstance(self._sock, ssl.SSLSocket) and (more := self._sock.pending()):
                data += self._sock.recv(more)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        self._received += data
        if not data or len(self._received) > BODY_MAX or _complete(self._received):
            self._end(_good(self._received))

    def _end(self, ok: bool) -> None:
        if self._sock.fileno() >= 0:
            self._timer.cancel()
            self._poller.forget(self._sock.fileno())
            self._sock.close()
            self._result(ok)


def _complete(received: bytearray) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    lower = bytes(head).lower()
    if not end or b"\r\ncontent-length:" not in lower:
        return bool(end) and b"\r\ntransfer-encoding: chunked" in lower and body.endswith(b"0\r\n\r\n")
    return len(body) >= int(lower.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0].strip() or 0)


def _good(received: bytearray) -> bool:
    words = received.split(b"\r\n", 1)[0].split(b" ")
    return len(words) >= 2 and words[0].startswith(b"HTTP/1.") and words[1].isdigit() and 200 <= int(words[1]) < 400


class Execution:
    """A program run in the Pod; exit status 0 in time is success."""

    def __init__(self, poller: Poller, runtime: Runtime, result: Result) -> None:
        self._poller, self._runtime, self._result = poller, runtime, result
        self._handle: Handle | None = None

    def of(
        self,
        netns: str,
        pod: PodSandbox,
        process: Process,
        probe: Probe,
        *,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """`post` brings the exit, which any thread may tell, back to the poller's."""
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._timer = self._poller.after(probe.timeout_seconds, self.cancel_as_failed)
        try:
            self._handle = self._runtime.spawn(
                netns,
                pod,
                probe.exec.command if probe.exec else (),
                env=process.env,
                cwd=process.container.working_dir or "/",
                output_fd=null,
                on_exit=lambda code: post(lambda: self._end(code == 0)),
            )
        except EmuError:
            self._end(False)
        finally:
            os.close(null)

    def cancel(self) -> None:
        """The result is not told."""
        self._result = _ignore
        self.cancel_as_failed()

    def cancel_as_failed(self) -> None:
        handle = self._handle
        self._end(False)
        if handle is not None:
            self._runtime.kill(handle, signal.SIGKILL)

    def _end(self, ok: bool) -> None:
        self._timer.cancel()
        self._handle = None
        result, self._result = self._result, _ignore
        result(ok)


def _unverified() -> ssl.SSLContext:
    """The kubelet takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def family_of(host: str) -> int:
    return socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6


def _ignore(_ok: bool) -> None:
    pass
