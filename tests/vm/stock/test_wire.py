"""Both implementations of tunl0 put the same packets on the wire: a capture of each on the Node's uplink, compared."""

from __future__ import annotations

import struct
from collections.abc import Callable

import ipip_lab
import pytest
from ipip_lab import MTU
from stock import alone, module

from emu.capture.points import points
from emu.capture.recorder import Recorder, opener
from emu.kernel import process
from emu.kernel.apply import Kernel
from emu.plan.diff import diff
from emu.plan.model import IpipBy

pytestmark = [pytest.mark.root, alone]
Sandbox = Callable[[Callable[[], object]], object]
#: Small and large, with and without DF, fragments of an inner packet, TTL, TOS and each ECN codepoint.
PINGS = (
    "-s 0 -M do",
    f"-s {MTU - 28} -M do",
    "-s 100 -M dont",
    "-s 3000 -M dont",
    "-t 7",
    "-t 2",
    *(f"-Q {tos}" for tos in (0x01, 0x02, 0x03, 0xFC, 0xFF)),
)
_ID, _CHECKSUM = slice(4, 6), slice(10, 12)


def test_outer_packets_are_equal_in_every_field_but_ids_and_checksums(sandbox: Sandbox) -> None:
    with module(loaded=False):
        by_ebpf = sandbox(lambda: captured(IpipBy.EBPF))
    with module(loaded=True):
        by_module = sandbox(lambda: captured(IpipBy.MODULE))
    assert len(by_module) == 2 * (len(PINGS) + 2)  # type: ignore[arg-type]  # 3000 bytes are three packets
    assert by_ebpf == by_module


def captured(by: IpipBy) -> list[tuple[str, ...]]:
    """What is on node1's uplink while Pods ping each other, in order; of each packet both headers and the rest."""
    kernel, plan = Kernel("lab"), ipip_lab.plan(by)
    kernel.apply(diff(None, plan), plan)
    assert ping(kernel, "-W 5"), "no answer"  # neighbors are known from here on
    recorder = Recorder(points(plan, ["node1:eth0"]), opener(kernel.netns))
    for words in PINGS:
        ping(kernel, words)
    recorder.settle()
    frames = [frame.data for frame in recorder.stop().frames]
    return [fields(data[14:]) for data in frames if data[12:14] == b"\x08\x00" and data[23] == 4]


def ping(kernel: Kernel, words: str) -> bool:
    argv = ["ping", "-c1", "-W2", "-p", "ab", *words.split(), "10.244.2.1"]
    return process.run(argv, ns=kernel.netns("default.p1"), check=False).code == 0


def fields(packet: bytes) -> tuple[str, ...]:
    """The outer header and the inner one without ids and checksums, and the inner protocol's type."""
    length = struct.unpack_from("!H", packet, 2)[0]
    assert len(packet) == length and packet[0] == packet[20] == 0x45
    outer, inner = bytearray(packet[:20]), bytearray(packet[20:40])
    for header in (outer, inner):
        header[_ID] = header[_CHECKSUM] = bytes(2)
    return outer.hex(), inner.hex()
