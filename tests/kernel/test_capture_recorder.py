"""The recorder on real links: two Pods at a bridge, made by hand."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from emu.capture import pcapng
from emu.capture.decode import records
from emu.capture.frame import PARTIAL_CHECKSUM, Capture
from emu.capture.recorder import Recorder, opener
from emu.errors import KernelError
from emu.kernel.netns import Netns, create, current, socket_in
from emu.kernel.process import run
from emu.plan.model import Role
from emu.trace.model import CapturePoint, Direction, PacketRecord

pytestmark = pytest.mark.root

Sandbox = Callable[[Callable[[], object]], object]

A = CapturePoint("a", "eth0", Role.POD_ETH, "default/a", "default/a")
VETH_A = CapturePoint("node1", "va", Role.HOST_VETH, "default/a", "node1")
CNI0 = CapturePoint("node1", "cni0", Role.BRIDGE, "node1", "node1")
VETH_B = CapturePoint("node1", "vb", Role.HOST_VETH, "default/b", "node1")
B = CapturePoint("b", "eth0", Role.POD_ETH, "default/b", "default/b")
POINTS = (A, VETH_A, CNI0, VETH_B, B)


class Lab:
    """a (10.0.0.1) and b (10.0.0.2) at cni0 (10.0.0.254), neighbors known, IPv6 off: nothing speaks unasked."""

    def __init__(self) -> None:
        self.netns: dict[str, Netns] = {"node1": current("node1")}
        self.ip("node1", "link add cni0 address 02:00:00:00:00:fe type bridge mcast_snooping 0")
        self.quiet("node1", "cni0")
        self.ip("node1", "addr add 10.0.0.254/24 dev cni0")
        self.ip("node1", "link set cni0 up")
        for number, name in enumerate("ab", 1):
            self._pod(name, number)
        self.server = socket_in(self.netns["b"], socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("10.0.0.2", 9))
        self.server.settimeout(5)

    def _pod(self, name: str, number: int) -> None:
        self.netns[name] = create(name)
        own, host = f"02:00:00:00:00:0{number}", f"02:00:00:00:01:0{number}"
        peer = f"peer name v{name} address {host} netns node1"
        self.ip(name, f"link add eth0 address {own} type veth {peer}")
        self.ip("node1", f"link set v{name} master cni0")
        self.quiet("node1", f"v{name}")
        self.quiet(name, "eth0")
        self.ip(name, f"addr add 10.0.0.{number}/24 dev eth0")
        self.ip("node1", f"link set v{name} up")
        self.ip(name, "link set eth0 up")
        self.ip(name, f"neigh add 10.0.0.{3 - number} lladdr 02:00:00:00:00:0{3 - number} dev eth0")
        self.ip(name, "neigh add 10.0.0.254 lladdr 02:00:00:00:00:fe dev eth0")
        self.ip("node1", f"neigh add 10.0.0.{number} lladdr {own} dev cni0")

    def ip(self, netns: str, words: str) -> None:
        run(["ip", *words.split()], ns=self.netns[netns])

    def quiet(self, netns: str, ifname: str) -> None:
        run(["sysctl", "-qw", f"net.ipv6.conf.{ifname}.disable_ipv6=1"], ns=self.netns[netns])

    @contextmanager
    def recording(self, *points: CapturePoint, **options: int) -> Iterator[tuple[Recorder, list[Capture]]]:
        recorder, result = Recorder(points or POINTS, opener(self.netns.__getitem__), **options), []
        yield recorder, result
        result.append(recorder.stop())

    def send(self, body: bytes, to: str = "10.0.0.2", netns: str = "a", count: int = 1) -> None:
        """Datagrams. They have passed every point when `sendto` returns, or very soon after."""
        with socket_in(self.netns[netns], socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(count):
                sock.sendto(body, (to, 9))

    def exchange(self, body: bytes) -> None:
        """A datagram from a to b that b has received."""
        self.send(body)
        assert self.server.recv(100) == body


def udp(capture: Capture) -> list[PacketRecord]:
    return [record for record in records(capture.frames) if record.inner and record.inner.proto == "udp"]


def test_the_first_packet_after_the_start_is_at_every_point_in_the_order_of_its_way(sandbox: Sandbox) -> None:
    def inside() -> list[tuple[str, str]]:
        lab = Lab()
        with lab.recording() as (_, result):
            lab.exchange(b"first")
        found = udp(result[0])
        assert len({record.same for record in found}) == 1
        assert [record.time_ns for record in found] == sorted(record.time_ns for record in found)
        return [(str(record.point), str(record.direction)) for record in found]

    # Frames that are switched from port to port do not pass cni0 itself.
    assert sandbox(inside) == [
        ("default/a:eth0", "out"),
        ("node1:va", "in"),
        ("node1:vb", "out"),
        ("default/b:eth0", "in"),
    ]


def test_a_packet_for_the_bridge_itself_is_seen_at_the_port_and_then_at_the_bridge(sandbox: Sandbox) -> None:
    def inside() -> list[str]:
        lab = Lab()
        with lab.recording(CNI0, VETH_A, A) as (recorder, result):
            lab.send(b"to the node", "10.0.0.254")
            recorder.settle()
        return [str(record.point) for record in udp(result[0])]

    assert sandbox(inside) == ["default/a:eth0", "node1:va", "node1:cni0"]


def test_stamps_are_of_passing_and_not_of_reading(sandbox: Sandbox) -> None:
    def inside() -> None:
        lab = Lab()
        with lab.recording(A) as (_, result):
            before = time.time_ns()
            lab.send(b"now")
            after = time.time_ns()
        (record,) = udp(result[0])
        assert before <= record.time_ns <= after

    for _ in range(3):
        sandbox(inside)


def test_an_idle_lab_gives_an_empty_capture(sandbox: Sandbox) -> None:
    def inside() -> int:
        lab = Lab()
        with lab.recording() as (recorder, result):
            assert not recorder.wait(0.3)
        return len(result[0].frames)

    assert sandbox(inside) == 0


def test_no_packet_of_a_burst_is_lost(sandbox: Sandbox) -> None:
    def inside() -> tuple[int, int]:
        lab = Lab()
        with lab.recording(A, VETH_A, B) as (recorder, result):
            lab.send(b"x" * 1000, count=5000)
            assert recorder.settle(timeout_s=20)
        counts = Counter(frame.point for frame in result[0].frames if frame.direction is Direction.IN)
        return counts[VETH_A], result[0].dropped

    assert sandbox(inside) == (5000, 0)


def test_drops_are_counted(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def inside() -> tuple[int, bool]:
        monkeypatch.setattr("emu.capture.tap.QUEUE", 4096)
        monkeypatch.setattr("emu.capture.recorder.REST_S", 3.0)
        lab = Lab()
        with lab.recording(VETH_A) as (_, result):
            lab.send(b"x" * 1000, count=200)
        return len(result[0].frames) + result[0].drops.get(VETH_A, 0), result[0].dropped > 0

    assert sandbox(inside) == (200, True)


def test_checksums_left_to_the_device_are_marked(sandbox: Sandbox) -> None:
    def inside() -> set[tuple[str, ...]]:
        lab = Lab()
        with lab.recording(A) as (_, result):
            lab.exchange(b"partial")
        return {record.flags for record in udp(result[0])}

    assert sandbox(inside) == {(PARTIAL_CHECKSUM,)}


def test_a_file_holds_the_same_as_memory(sandbox: Sandbox) -> None:
    path = Path(mkdtemp()) / "all.pcapng"

    def inside() -> None:
        lab = Lab()
        with path.open("wb") as file, lab.recording(fd=file.fileno()) as (_, streamed), lab.recording() as (_, kept):
            for number in range(20):
                lab.exchange(f"packet {number}".encode())
        assert streamed[0].frames == ()
        assert pcapng.read(path).frames == kept[0].frames

    sandbox(inside)


def test_a_pipe_gets_packets_while_the_capture_runs(sandbox: Sandbox) -> None:
    def inside() -> None:
        lab = Lab()
        reader, writer = os.pipe()
        with lab.recording(A, fd=writer):
            head = os.read(reader, 65536)
            assert b"default/a:eth0" in head
            lab.exchange(b"live")
            assert b"live" in os.read(reader, 65536)

    sandbox(inside)


def test_a_reader_that_goes_away_ends_the_capture_quietly(sandbox: Sandbox) -> None:
    def inside() -> None:
        lab = Lab()
        reader, writer = os.pipe()
        with lab.recording(A, fd=writer) as (recorder, _):
            os.close(reader)
            assert recorder.wait(5)

    sandbox(inside)


def test_a_reader_that_reads_nothing_does_not_hold_up_the_end(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inside() -> None:
        monkeypatch.setattr("emu.capture.stream.PATIENCE_S", 0.1)
        lab = Lab()
        _reader, writer = os.pipe()
        with lab.recording(A, fd=writer) as (recorder, _):
            lab.send(b"x" * 1400, count=500)
            recorder.settle()

    sandbox(inside)


def test_a_full_disk_is_told(sandbox: Sandbox) -> None:
    def inside() -> None:
        lab = Lab()
        with Path("/dev/full").open("wb", buffering=0) as full:
            recorder = Recorder((A,), opener(lab.netns.__getitem__), fd=full.fileno())
            assert recorder.wait(5)
            with pytest.raises(KernelError, match="No space left"):
                recorder.stop()

    sandbox(inside)


def test_a_deleted_interface_keeps_what_it_saw_and_the_rest_goes_on(sandbox: Sandbox) -> None:
    def inside() -> list[str]:
        lab = Lab()
        with lab.recording() as (recorder, result):
            lab.exchange(b"before")
            lab.ip("node1", "link del vb")
            recorder.settle()
            lab.send(b"after", "10.0.0.254")
            recorder.settle()
        assert result[0].dropped == 0
        return [str(record.point) for record in udp(result[0])]

    seen = sandbox(inside)
    assert "default/b:eth0" in seen
    assert seen[-3:] == ["default/a:eth0", "node1:va", "node1:cni0"]


def test_an_interface_that_does_not_exist_is_named(sandbox: Sandbox) -> None:
    def inside() -> None:
        lab = Lab()
        nowhere = CapturePoint("node1", "cni9", Role.BRIDGE, "node1", "node1")
        with pytest.raises(KernelError, match="cannot capture at node1:cni9: No such device"):
            Recorder((A, nowhere), opener(lab.netns.__getitem__))

    sandbox(inside)
