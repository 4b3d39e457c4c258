"""The recorder on real links."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import pytest
from capture_lab import CNI0, VETH_A, A, B, Lab, Sandbox

from emu.capture import pcapng
from emu.capture.decode import records
from emu.capture.frame import PARTIAL_CHECKSUM, Capture
from emu.capture.recorder import Recorder, opener
from emu.errors import KernelError
from emu.plan.model import Role
from emu.trace.model import CapturePoint, Direction, PacketRecord

pytestmark = pytest.mark.root


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
