"""Packets are counted by their point while the stream is copied; the copy is whole blocks."""

from __future__ import annotations

import os

import pytest

from emu.capture.frame import Frame
from emu.capture.pcapng import Writer
from emu.cli.packets import Counter
from emu.plan.model import Role
from emu.trace.model import CapturePoint, Direction

POINTS = [CapturePoint("node1", name, Role.BRIDGE, "node1") for name in ("cni0", "flannel.1")]


@pytest.fixture
def stream():
    """Three packets of the first point and one of the second."""
    pieces = []
    writer = Writer(pieces.append, POINTS)
    for point in (POINTS[0], POINTS[1], POINTS[0], POINTS[0]):
        writer.write([Frame(point, 1, Direction.IN, b"x" * 61, 61)])
    writer.finish({})
    return b"".join(pieces)


@pytest.fixture
def file(tmp_path):
    fd = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def content(fd):
    return os.pread(fd, 1 << 20, 0)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_packets_are_counted_however_the_stream_is_cut(size, stream, file):
    counter = Counter(file)
    assert all(counter.take(stream[at : at + size]) for at in range(0, len(stream), size))
    assert counter.by_point() == {"node1:cni0": 3, "node1:flannel.1": 1}
    assert (counter.packets, content(file)) == (4, stream)


def test_it_ends_with_the_packet_that_is_the_last_wanted(stream, file):
    counter = Counter(file, most=2)
    assert not counter.take(stream)
    assert counter.packets == 2
    assert stream.startswith(content(file))
    assert not counter.take(stream)


def test_a_reader_that_has_gone_ends_it(stream):
    reading, writing = os.pipe()
    os.close(reading)
    assert not Counter(writing).take(stream)
    os.close(writing)
