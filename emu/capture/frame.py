"""A frame as it was taken: bytes, and what the kernel said of them."""

from __future__ import annotations

from dataclasses import dataclass

from emu.trace.model import CapturePoint, Direction

ETHERNET = 1  # LINKTYPE_ETHERNET, https://www.tcpdump.org/linktypes.html
RAW = 101  # LINKTYPE_RAW: begins with the IP header
PARTIAL_CHECKSUM = "partial-checksum"  # the checksum is still to be filled in: not an error
GSO = "gso"  # larger than the MTU: still to be cut into packets, in the kernel or by the last device


@dataclass(frozen=True, slots=True)
class Frame:
    """`length` is what was on the wire, if `data` holds less of it. Where it has been put together: of how many pieces,
    and of how many the packet inside a tunnel; else 0."""

    point: CapturePoint
    time_ns: int
    direction: Direction
    data: bytes
    length: int
    flags: tuple[str, ...] = ()
    linktype: int = ETHERNET
    pieces: int = 0
    inner_pieces: int = 0


@dataclass(frozen=True, slots=True)
class Capture:
    """Frames in the order of time; of one time, in the order port, then what is stacked on it.
    `drops`: what the kernel had no room for, per point (those with any)."""

    frames: tuple[Frame, ...]
    drops: dict[CapturePoint, int]

    @property
    def dropped(self) -> int:
        return sum(self.drops.values())
