"""Records at many points at once, on one clock.

One thread reads all the sockets. Frames wait in the kernel, stamped as they passed, so that the thread may come late:
it rests after each round, which costs the lab 100 wake-ups a second and not one a packet."""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from emu.capture.frame import Capture, Frame
from emu.capture.stamps import ensure
from emu.capture.stream import Output
from emu.capture.tap import LONGEST, Tap
from emu.errors import KernelError, NotPermitted
from emu.kernel.netns import Netns, socket_in
from emu.trace.model import CapturePoint

OpenSocket = Callable[[str, str], socket.socket]
"""(netns, ifname) → a packet socket made in that netns, as `open_packet_socket` makes it."""

REST_S = 0.01
# A frame may come into its queue some time after it was stamped: only older ones are put in order and written.
LATE_NS = 5_000_000
FEWER = "an open file per point: name fewer points, or allow the testbed more (prlimit --nofile) before emu up"


def open_packet_socket(netns: Netns) -> socket.socket:
    """Protocol 0: it hears nothing until it is bound to an interface."""
    return socket_in(netns, socket.AF_PACKET, socket.SOCK_RAW, 0)


def opener(netns_of: Callable[[str], Netns]) -> OpenSocket:
    return lambda netns, ifname: open_packet_socket(netns_of(netns))


class Recorder:
    """Armed when the constructor returns. With `fd` (a file or a pipe; it stays the caller's) frames are written there
    as pcapng while it runs; without, they are kept for `stop`. With `lenient` a point whose interface is not there
    (a Pod has just gone, somebody deleted a link) is left out and listed in `absent`. Raises KernelError,
    NotPermitted."""

    def __init__(
        self, points: Sequence[CapturePoint], open_socket: OpenSocket, *, fd: int | None = None, lenient: bool = False
    ) -> None:
        self.points = tuple(points)
        self._lenient = lenient
        self.absent: tuple[CapturePoint, ...] = ()
        self._taps: dict[int, Tap] = {}
        self._buffer = bytearray(LONGEST)
        self._joining: deque[Tap] = deque()  # armed; the thread has not taken them yet
        self._drops: dict[CapturePoint, int] = {}
        self._frames: list[Frame] = []  # read, and not written
        self._stopping, self._over = threading.Event(), threading.Event()
        self._heard, self._reading, self._last_ns = threading.Condition(), False, time.time_ns()
        self._epoll = select.epoll()
        self._wake, self._woken = socket.socketpair()
        self._epoll.register(self._woken, select.EPOLLIN)
        try:
            self._tap_all(open_socket)
            ensure()
            self._output = None if fd is None else self._output_to(fd)
        except BaseException:
            self._release()
            raise
        if self._output and self._output.over:
            self._over.set()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def join(self, points: Iterable[CapturePoint], open_socket: OpenSocket) -> None:
        """Record there too, from when this returns on; not to be called after `stop`. A point whose interface is not
        there, or is listened to already, is left out."""
        heard = {tap.point for tap in (*self._taps.copy().values(), *self._joining) if tap.is_live}
        for point in points:
            if point not in heard and (tap := self._tap(point, open_socket)):
                self._joining.append(tap)
        self._wake.send(b"+")

    def stop(self) -> Capture:
        """Everything that passed before this call, in order (no frames if they went to `fd`), and the drops. Raises
        KernelError when the file could not be written."""
        now = time.time_ns()
        self._stopping.set()
        self._wake.send(b"!")
        if self._output:
            self._output.stream.hurry()
        self._thread.join()
        try:
            self._admit()
            self._read(self._taps, now)
            for tap in self._taps.values():
                self._count(tap)
        finally:
            self._release()
        frames = _in_order(self._frames)
        drops = {point: count for point, count in self._drops.items() if count}
        if self._output is None:
            return Capture(tuple(frames), drops)
        self._output.write(frames)
        self._output.finish(self._drops)
        if self._output.error:
            raise KernelError(f"the capture could not be written: {self._output.error.strerror}")
        return Capture((), drops)

    def settle(self, quiet_s: float = 0.03, timeout_s: float = 1.0) -> bool:
        """Wait until nothing has passed any point for `quiet_s`: what follows a flow's last answer (the closing of a
        connection) is then in the capture. False: still busy after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with self._heard:
            while (rest := self._unquiet(quiet_s)) > 0:
                if time.monotonic() >= deadline:
                    return False
                self._heard.wait(rest)
        return True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the capture has ended by itself: the reader of the pipe is gone, or the disk is full."""
        return self._over.wait(timeout_s)

    def _tap_all(self, open_socket: OpenSocket) -> None:
        for point in self.points:
            tap = self._tap(point, open_socket)
            if tap is None:
                self.absent = (*self.absent, point)
                continue
            self._take(tap)
        self.points = tuple(tap.point for tap in self._taps.values())

    def _take(self, tap: Tap) -> None:
        self._taps[tap.sock.fileno()] = tap
        self._epoll.register(tap.sock, select.EPOLLIN)

    def _admit(self) -> None:
        """Those who have joined."""
        while self._joining:
            tap = self._joining.popleft()
            self._take(tap)
            self.points = tuple(dict.fromkeys((*self.points, tap.point)))
            if self._output:
                self._output.add(tap.point, tap.linktype)

    def _tap(self, point: CapturePoint, open_socket: OpenSocket) -> Tap | None:
        """None: its interface, or its netns, is not there."""
        try:
            return Tap(point, open_socket(point.netns, point.ifname), self._buffer)
        except PermissionError as error:
            raise NotPermitted(f"cannot capture at {point}: packet sockets are not permitted") from error
        except (OSError, KeyError) as error:
            if self._lenient and (isinstance(error, KeyError) or error.errno == errno.ENODEV):
                return None
            reason = error.strerror if isinstance(error, OSError) else "there is no such netns"
            hint = FEWER if isinstance(error, OSError) and error.errno == errno.EMFILE else ""
            raise KernelError(f"cannot capture at {point}: {reason}", hint=hint) from error

    def _output_to(self, fd: int) -> Output:
        output = Output(fd, self.points, {tap.point: tap.linktype for tap in self._taps.values()})
        if output.stream.has_reader:
            self._epoll.register(fd, 0)  # an error is told even so: the reader is gone
        return output

    def _run(self) -> None:
        while not self._stopping.is_set() and not self._over.is_set():
            most = len(self._taps) + 2
            ready = dict(self._epoll.poll(REST_S if self._output and self._frames else None, most))
            if self._woken.fileno() in ready and not self._stopping.is_set():
                self._woken.recv(1)
                self._admit()
            now = time.time_ns()
            self._read(ready, now)
            if self._output:
                self._write(self._output, now - LATE_NS, ready)
            self._stopping.wait(REST_S)

    def _read(self, ready: Iterable[int], until_ns: int) -> None:
        self._reading = True
        for tap in [self._taps[fd] for fd in ready if fd in self._taps]:
            fd = tap.sock.fileno()
            self._frames.extend(tap.frames(until_ns))
            if self._frames:
                self._last_ns = max(self._last_ns, self._frames[-1].time_ns)
            if tap.gone:
                self._epoll.unregister(fd)
                tap.close()
                self._count(tap)
                del self._taps[fd]
        with self._heard:
            self._reading = False
            self._heard.notify_all()

    def _count(self, tap: Tap) -> None:
        self._drops[tap.point] = self._drops.get(tap.point, 0) + tap.drops

    def _unquiet(self, quiet_s: float) -> float:
        """Seconds to wait before it can be quiet; some, if frames wait to be read."""
        rest = quiet_s - (time.time_ns() - self._last_ns) / 1e9
        waiting = self._reading or any(fd in self._taps for fd, _ in self._epoll.poll(0))
        return max(rest, REST_S if waiting else 0)

    def _write(self, output: Output, until_ns: int, ready: Iterable[int]) -> None:
        due = _in_order(frame for frame in self._frames if frame.time_ns <= until_ns)
        self._frames = [frame for frame in self._frames if frame.time_ns > until_ns]
        output.write(due)
        if output.over or output.stream.fd in ready:
            self._over.set()

    def _release(self) -> None:
        # Closing a packet socket waits until no processor uses it, some 13 ms: all at once, they wait together.
        with ThreadPoolExecutor(64) as closers:
            list(closers.map(Tap.close, (*self._taps.values(), *self._joining)))
        self._epoll.close()
        self._wake.close()
        self._woken.close()


def _in_order(frames: Iterable[Frame]) -> list[Frame]:
    """By time. A frame keeps its stamp on the way from a port to its bridge: the port first."""
    return sorted(frames, key=lambda frame: (frame.time_ns, frame.point.stacked))
