"""One leg of a path as a drawing: a box for each namespace the packet visits, in it the interfaces it was seen at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise

from emu.plan.model import Role
from emu.report import words
from emu.trace.compare import Row
from emu.trace.model import Hop

STEP, WIDE, TALL, MARGIN = 126, 108, 122, 12  # an interface name has up to 15 characters, and an arrow before it
COLORS = {
    Role.POD_ETH: "#2f7d4f",
    Role.HOST_VETH: "#2f6f9f",
    Role.BRIDGE: "#7a5ba6",
    Role.TUNNEL: "#b3541e",
    Role.UPLINK: "#8a6d1d",
    Role.FABRIC: "#5f6b75",
}


@dataclass(frozen=True, slots=True)
class _Stop:
    """A hop with its place in the drawing."""

    hop: Hop
    row: Row
    x: int


def leg(rows: Sequence[Row]) -> str:
    """The observed hops from left to right; those predicted and not seen are dashed."""
    shown = [row for row in rows if row.got or row.wrong]
    stops = [_Stop(_hop(row), row, MARGIN + index * STEP) for index, row in enumerate(shown)]
    width = MARGIN + max(1, len(stops)) * STEP
    inside = "".join((*_places(stops), *_wires(stops), *(part for stop in stops for part in _stop(stop))))
    return f'<svg viewBox="0 0 {width} {TALL}" width="{width}" height="{TALL}" role="img">{inside}</svg>'


def _hop(row: Row) -> Hop:
    hop = row.got or row.expected
    assert hop is not None
    return hop


def _places(stops: Sequence[_Stop]) -> Iterator[str]:
    for name, group in groupby(stops, key=lambda stop: stop.hop.point.label or stop.hop.point.netns):
        members = list(group)
        wide = members[-1].x - members[0].x + STEP - 10
        yield f'<rect class="place" x="{members[0].x}" y="8" width="{wide}" height="106" rx="8"/>'
        text = escape(_short(name, wide - 12, 7.2))
        yield f'<text class="name" x="{members[0].x + 6}" y="25">{text}<title>{escape(name)}</title></text>'


def _wires(stops: Sequence[_Stop]) -> Iterator[str]:
    for a, b in pairwise(stops):
        style = "wire tunnel" if a.hop.encapsulation and b.hop.encapsulation else "wire"
        style += "" if a.row.got and b.row.got else " unseen"
        yield f'<line class="{style}" x1="{a.x + 4 + WIDE}" y1="52" x2="{b.x + 4}" y2="52"/>'


def _stop(stop: _Stop) -> Iterator[str]:
    hop, x = stop.hop, stop.x + 4
    color = COLORS.get(hop.point.role, "#5f6b75")
    style = "stop" if stop.row.got else "stop unseen"
    edge = "#c0392b" if stop.row.wrong else color
    yield f"<g><title>{escape(words.packet(hop.inner))}</title>"
    yield f'<rect class="{style}" x="{x}" y="36" width="{WIDE}" height="32" rx="5" fill="{color}" stroke="{edge}"/>'
    label = f"{words.ARROW[hop.direction]} {hop.point.ifname}"
    point = "point" if stop.row.got else "point missed"
    yield f'<text class="{point}" x="{x + WIDE // 2}" y="56">{escape(_short(label, WIDE, 6.6))}</text>'
    yield f'<text class="small" x="{x + 2}" y="84">{escape(_short(str(hop.inner.src), WIDE, 6))}</text>'
    yield f'<text class="small" x="{x + 2}" y="97">{escape(_short(f"→ {hop.inner.dst}", WIDE, 6))}</text>'
    outer = f"in {hop.encapsulation.kind.upper()}" if hop.encapsulation else ""
    yield f'<text class="small outer" x="{x + 2}" y="110">{escape(outer)}</text></g>'


def _short(text: str, pixels: int, each: float) -> str:
    """As much of a text as fits, `each` pixels a character."""
    room = max(3, int(pixels / each))
    return text if len(text) <= room else text[: room - 1] + "…"
