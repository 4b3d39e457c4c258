"""pcapng: one file (or pipe) with an interface per capture point, named after it.

Source: draft-ietf-opsawg-pcapng. Little-endian; nanoseconds; the direction and the offload marks of a frame are in
its `epb_flags`, the kernel's drops in an Interface Statistics Block at the end."""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emu.capture.frame import ETHERNET, GSO, PARTIAL_CHECKSUM, Capture, Frame
from emu.errors import InputError
from emu.plan.model import Role
from emu.trace.model import CapturePoint, Direction

SNAPLEN = 0  # no limit
_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC = 0x1A2B3C4D
_NANOSECONDS = 9  # if_tsresol: 10^-9

_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_EPB_FLAGS = 2
_ISB_STARTTIME, _ISB_ENDTIME, _ISB_IFRECV, _ISB_IFDROP = 2, 3, 4, 5
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4

_DIRECTIONS = {Direction.IN: 0b01, Direction.OUT: 0b10}
_MARKS = {PARTIAL_CHECKSUM: 1 << 9, GSO: 1 << 11}  # bits of epb_flags

_HEAD = struct.Struct("<II")
_EPB = struct.Struct("<IIIII")
_OPTION = struct.Struct("<HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_DESCRIPTION = re.compile(r"(?P<role>\S+) of (?P<owner>\S+), netns (?P<netns>\S+)")


@dataclass(slots=True)
class Writer:
    """Streams to `sink`, which takes all the bytes it is given; the blocks of one call arrive in one piece."""

    sink: Callable[[bytes], object]
    points: Sequence[CapturePoint]
    linktypes: Mapping[CapturePoint, int] = field(default_factory=dict)
    _index: dict[CapturePoint, int] = field(default_factory=dict)
    _received: dict[CapturePoint, int] = field(default_factory=dict)
    _times: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self._index = {point: index for index, point in enumerate(self.points)}
        blocks = (_interface(point, self.linktypes.get(point, ETHERNET)) for point in self.points)
        self.sink(b"".join((_section(), *blocks)))

    def add(self, point: CapturePoint, linktype: int) -> None:
        """One more interface, from here on; one that has come back keeps its place."""
        if point not in self._index:
            self._index[point] = len(self._index)
            self.sink(_interface(point, linktype))

    def write(self, frames: Sequence[Frame]) -> None:
        if not frames:
            return
        for frame in frames:
            self._received[frame.point] = self._received.get(frame.point, 0) + 1
        self._times = (self._times[0] or frames[0].time_ns, frames[-1].time_ns)
        self.sink(b"".join(_packet(self._index[frame.point], frame) for frame in frames))

    def finish(self, drops: Mapping[CapturePoint, int]) -> None:
        """The statistics. The sink stays open: it is the caller's."""
        self.sink(
            b"".join(
                _statistics(index, self._times, self._received.get(point, 0), drops.get(point, 0))
                for point, index in self._index.items()
            )
        )


def write(path: Path, capture: Capture, points: Sequence[CapturePoint] = ()) -> None:
    """A whole capture to a file. `points`: also those where nothing was seen."""
    linktypes = {frame.point: frame.linktype for frame in capture.frames}
    with path.open("wb") as file:
        every = tuple(dict.fromkeys((*points, *linktypes, *capture.drops)))
        writer = Writer(file.write, every, linktypes)
        writer.write(capture.frames)
        writer.finish(capture.drops)


def read(path: Path) -> Capture:
    """A file that `Writer` made. Raises InputError for anything else."""
    raw = path.read_bytes()
    interfaces: list[tuple[CapturePoint, int]] = []
    frames: list[Frame] = []
    drops: dict[CapturePoint, int] = {}
    for kind, body in _blocks(raw, path):
        if kind == _INTERFACE:
            interfaces.append(_read_interface(body, path))
        elif kind == _PACKET:
            frames.append(_read_packet(body, interfaces))
        elif kind == _STATISTICS:
            point = interfaces[struct.unpack_from("<I", body)[0]][0]
            dropped = int.from_bytes(_options(body[12:]).get(_ISB_IFDROP, b""), "little")
            drops |= {point: dropped} if dropped else {}
    return Capture(tuple(frames), drops)


def _block(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    body += _PADDING[len(body) & 3]
    length = len(body) + 12
    return _HEAD.pack(kind, length) + body + length.to_bytes(4, "little")


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value + _PADDING[len(value) & 3]


_END = _OPTION.pack(0, 0)


def _section() -> bytes:
    machine, system = platform.machine(), f"{platform.system()} {platform.release()}"
    texts = ((_SHB_HARDWARE, machine), (_SHB_OS, system), (_SHB_USERAPPL, "kube-emu"))
    options = (_option(code, text.encode()) for code, text in texts)
    return _block(_SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1), *options, _END)


def _interface(point: CapturePoint, linktype: int) -> bytes:
    description = f"{point.role} of {point.owner}, netns {point.netns}"
    return _block(
        _INTERFACE,
        struct.pack("<HHI", linktype, 0, SNAPLEN),
        _option(_IF_NAME, str(point).encode()),
        _option(_IF_DESCRIPTION, description.encode()),
        _option(_IF_TSRESOL, bytes((_NANOSECONDS,))),
        _END,
    )


def _packet(index: int, frame: Frame) -> bytes:
    flags = _DIRECTIONS[frame.direction]
    for mark in frame.flags:
        flags |= _MARKS[mark]
    data, size = frame.data, len(frame.data)
    head = _EPB.pack(index, frame.time_ns >> 32, frame.time_ns & 0xFFFFFFFF, size, frame.length)
    options = _OPTION.pack(_EPB_FLAGS, 4) + flags.to_bytes(4, "little") + _END
    return _block(_PACKET, head, data, _PADDING[size & 3], options)


def _statistics(index: int, times: tuple[int, int], received: int, dropped: int) -> bytes:
    start, end = (struct.pack("<II", time_ns >> 32, time_ns & 0xFFFFFFFF) for time_ns in times)
    return _block(
        _STATISTICS,
        struct.pack("<I", index) + end,
        _option(_ISB_STARTTIME, start) + _option(_ISB_ENDTIME, end),
        _option(_ISB_IFRECV, (received + dropped).to_bytes(8, "little")),
        _option(_ISB_IFDROP, dropped.to_bytes(8, "little")),
        _END,
    )


def _blocks(raw: bytes, path: Path) -> Iterator[tuple[int, bytes]]:
    if raw[:4] != _SECTION.to_bytes(4, "little") or raw[8:12] != _MAGIC.to_bytes(4, "little"):
        raise InputError(f"{path} is not a little-endian pcapng file")
    offset = 0
    while offset + 12 <= len(raw):
        kind, length = _HEAD.unpack_from(raw, offset)
        if length < 12 or offset + length > len(raw):
            raise InputError(f"{path} is cut off in the block at byte {offset}")
        yield kind, raw[offset + 8 : offset + length - 4]
        offset += length


def _options(raw: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(raw):
        code, length = _OPTION.unpack_from(raw, offset)
        if code == 0:
            break
        found[code] = raw[offset + 4 : offset + 4 + length]
        offset += 4 + ((length + 3) & ~3)
    return found


def _read_interface(body: bytes, path: Path) -> tuple[CapturePoint, int]:
    linktype = struct.unpack_from("<H", body)[0]
    options = _options(body[8:])
    label, _, ifname = options.get(_IF_NAME, b"").decode().rpartition(":")
    said = _DESCRIPTION.fullmatch(options.get(_IF_DESCRIPTION, b"").decode())
    if said is None or options.get(_IF_TSRESOL) != bytes((_NANOSECONDS,)):
        raise InputError(f"{path} was not captured by emu: its interface {label}:{ifname} does not say whose it is")
    return CapturePoint(said["netns"], ifname, Role(said["role"]), said["owner"], label), linktype


def _read_packet(body: bytes, interfaces: Sequence[tuple[CapturePoint, int]]) -> Frame:
    index, high, low, size, length = _EPB.unpack_from(body)
    start = _EPB.size
    options = _options(body[start + ((size + 3) & ~3) :])
    bits = int.from_bytes(options.get(_EPB_FLAGS, b"\1"), "little")
    point, linktype = interfaces[index]
    direction = Direction.OUT if bits & 3 == _DIRECTIONS[Direction.OUT] else Direction.IN
    marks = tuple(mark for mark, bit in _MARKS.items() if bits & bit)
    return Frame(point, high << 32 | low, direction, body[start : start + size], length, marks, linktype)
