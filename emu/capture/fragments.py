"""Fragments → the packet they are of, so that one packet is known at every point, whether it passes there whole or in
pieces. First the outer packets are put together, then what lies in tunnels.

What a capture shows of a fragment's IP header can be trusted in the first alone. A packet socket keeps no copy but the
kernel's own buffer until it is read; where conntrack has put a packet together and it is cut again further on, the
header of the first is written over those of the others in these very buffers (ip_fraglist_prepare asks skb_shared, not
skb_cloned), as NAT and routing have left it, in IPv6 with another identification. So a fragment is known by its place:
it goes on where the one before it at this point ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from emu.capture.frame import RAW, Frame
from emu.capture.ip import ETH_IPV4, ETH_IPV6, ETH_VLAN, IPIP, UDP

VXLAN_PORTS = frozenset({8472, 4789})  # the kernel's (and Flannel's) own, IANA's
_VNI_GIVEN = 0x08
_FRAGMENT = 44  # IPv6's next header
_UDP_VXLAN = 16  # bytes of both headers


class _Piece(NamedTuple):
    ident: bytes
    proto: int
    offset: int
    more: bool
    payload: bytes
    head: bytes  # the IP header as the whole packet has it, but for its length


@dataclass(slots=True)
class _Puzzle:
    """The pieces of one packet that have been seen at one point, and where they stand among the frames."""

    places: list[int] = field(default_factory=list)
    pieces: list[_Piece] = field(default_factory=list)

    @property
    def end(self) -> int:
        return sum(len(piece.payload) for piece in self.pieces)

    def add(self, place: int, piece: _Piece) -> None:
        self.places.append(place)
        self.pieces.append(piece)


def joined(frames: Iterable[Frame]) -> tuple[Frame, ...]:
    """The frames with each fragmented packet as one frame, in the place of its first; fragments of which some are
    missing stay what they are."""
    outer = _pass(tuple(frames), _network)
    return _pass(outer, _tunnelled)


def _pass(frames: Sequence[Frame], at: Callable[[Frame], int]) -> tuple[Frame, ...]:
    made: list[Frame | None] = list(frames)
    begun: defaultdict[tuple[object, ...], list[_Puzzle]] = defaultdict(list)
    for index, frame in enumerate(frames):
        start = at(frame)
        piece = _piece(frame.data, start) if start >= 0 else None
        if piece is None:
            continue
        here = begun[frame.point, frame.direction, piece.proto]
        puzzle = _of(piece, here)
        if puzzle is None:
            continue
        puzzle.add(index, piece)
        if not piece.more:
            here.remove(puzzle)
            first = puzzle.places[0]
            made[first] = _rebuilt(frames[first], at(frames[first]), puzzle.pieces, inner=at is _tunnelled)
            for place in puzzle.places[1:]:
                made[place] = None
    return tuple(frame for frame in made if frame is not None)


def _of(piece: _Piece, begun: list[_Puzzle]) -> _Puzzle | None:
    """The puzzle it belongs to: of those that want just this piece, one with its identification, if there is any."""
    if piece.offset == 0:
        begun.append(_Puzzle())
        return begun[-1]
    fitting = [puzzle for puzzle in begun if puzzle.end == piece.offset]
    same = (puzzle for puzzle in fitting if puzzle.pieces[0].ident == piece.ident)
    return next(same, None) or next(iter(fitting), None)


def _rebuilt(frame: Frame, start: int, pieces: Sequence[_Piece], *, inner: bool) -> Frame:
    head, payload = pieces[0].head, b"".join(piece.payload for piece in pieces)
    data = _lengthened(frame.data[:start], frame, len(head) + len(payload)) if inner else frame.data[:start]
    data += _with_length(head, len(head) + len(payload)) + payload
    count = len(pieces)
    counted = replace(frame, inner_pieces=count) if inner else replace(frame, pieces=count)
    return replace(counted, data=data, length=len(data))


def _lengthened(data: bytes, frame: Frame, inside: int) -> bytes:
    """The headers around, with the length of the outer IP header."""
    start = _network(frame)
    return data[:start] + _with_length(data[start:], len(data) - start + inside)


def _with_length(packet: bytes, length: int) -> bytes:
    """`length` of the whole IP packet."""
    if packet[0] >> 4 == 4:
        return packet[:2] + min(length, 0xFFFF).to_bytes(2, "big") + packet[4:]
    return packet[:4] + min(length - 40, 0xFFFF).to_bytes(2, "big") + packet[6:]


def _piece(data: bytes, at: int) -> _Piece | None:
    version = data[at] >> 4 if len(data) > at else 0
    if version == 4 and len(data) >= at + 20:
        return _piece4(data, at)
    if version == 6 and len(data) >= at + 48 and data[at + 6] == _FRAGMENT:
        return _piece6(data, at)
    return None


def _piece4(data: bytes, at: int) -> _Piece | None:
    cut = int.from_bytes(data[at + 6 : at + 8], "big")
    if not cut & 0x3FFF:
        return None
    behind, end = at + (data[at] & 15) * 4, at + int.from_bytes(data[at + 2 : at + 4], "big")
    head = data[at : at + 6] + (cut & 0x4000).to_bytes(2, "big") + data[at + 8 : behind]
    ident, proto = data[at + 4 : at + 6], data[at + 9]
    return _Piece(ident, proto, (cut & 0x1FFF) * 8, bool(cut & 0x2000), data[behind:end], head)


def _piece6(data: bytes, at: int) -> _Piece:
    cut = int.from_bytes(data[at + 42 : at + 44], "big")
    end = at + 40 + int.from_bytes(data[at + 4 : at + 6], "big")
    head = data[at : at + 6] + data[at + 40 : at + 41] + data[at + 7 : at + 40]
    ident, proto = data[at + 44 : at + 48], data[at + 40]
    return _Piece(ident, proto, cut & 0xFFF8, bool(cut & 1), data[at + 48 : end], head)


def _network(frame: Frame) -> int:
    """Where the IP header begins; -1 for none."""
    if frame.linktype == RAW:
        return 0
    at, data = 12, frame.data
    while int.from_bytes(data[at : at + 2], "big") in ETH_VLAN:
        at += 4
    return at + 2 if int.from_bytes(data[at : at + 2], "big") in (ETH_IPV4, ETH_IPV6) else -1


def _tunnelled(frame: Frame) -> int:
    """Where the inner IP header begins; -1 outside a tunnel."""
    at, data = _network(frame), frame.data
    if at < 0 or len(data) < at + 40:
        return -1
    six = data[at] >> 4 == 6
    behind, proto = (at + 40, data[at + 6]) if six else (at + (data[at] & 15) * 4, data[at + 9])
    if proto == IPIP:
        return behind
    vxlan = proto == UDP and int.from_bytes(data[behind + 2 : behind + 4], "big") in VXLAN_PORTS
    if not vxlan or len(data) < behind + 50 or not data[behind + 8] & _VNI_GIVEN:
        return -1
    ethernet = behind + _UDP_VXLAN
    kind = int.from_bytes(data[ethernet + 12 : ethernet + 14], "big")
    return ethernet + 14 if kind in (ETH_IPV4, ETH_IPV6) else -1
