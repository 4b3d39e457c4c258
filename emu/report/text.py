"""A trace for a terminal: hop by hop what was seen, beside what was predicted. At most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from emu.report import words
from emu.trace.compare import Row, side_by_side
from emu.trace.model import Cause, Hop, Leg, TraceResult, Verdict

WIDTH = 100
_LABEL = 10  # width of the kind of a cause
_CODES = {"good": "32", "bad": "31", "place": "1", "change": "33", "dim": "2", "tunnel": "36"}


class _Pen:
    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.color and text else text

    def mark(self, wrong: str) -> str:
        return self("bad", "✗") if wrong else self("good", "✓")


def trace_text(result: TraceResult, color: bool) -> str:
    """The whole account of one request."""
    return "\n".join(_lines(result, _Pen(color))) + "\n"


def summary(results: Sequence[TraceResult], color: bool) -> str:
    """One line for each request, and how many went as predicted."""
    pen = _Pen(color)
    lines = [line for each in results for line in _summed_up(each, pen)]
    lines += [f"    {line}" for r in results if not r.ok for line in _wrap(words.outcome(r), WIDTH - 4)]
    good = sum(r.ok for r in results)
    return "\n".join((*lines, f"{good} of {len(results)} paths are as predicted")) + "\n"


def _summed_up(result: TraceResult, pen: _Pen) -> Iterator[str]:
    """That a packet did not arrive is said even where it was not to arrive."""
    yield f"{pen.mark('' if result.ok else 'x')} {_fit(words.title(result.flow), WIDTH - 2)}"
    if result.matched is not None:
        leg = result.prediction.paths[result.matched].forward
        if leg.verdict is not Verdict.DELIVERED:
            yield from (pen("dim", f"    {line}") for line in _wrap(f"as predicted, {words.ending(leg)}", WIDTH - 4))


def _lines(result: TraceResult, pen: _Pen) -> Iterator[str]:
    yield pen("place", _fit(words.title(result.flow), WIDTH))
    first, *rest = _wrap(words.outcome(result), WIDTH - 4)
    yield f"  {pen.mark('' if result.ok else 'x')} {first}"
    yield from (f"    {line}" for line in rest)
    index = words.nearest(result)
    path = result.prediction.paths[index] if index is not None else None
    agreed = result.matched is not None
    yield from _leg("forward", path.forward if path else None, result.observed.forward, agreed, pen)
    expected = path.reply if path else None
    if expected or result.observed.reply:
        yield from _leg("reply", expected, result.observed.reply, agreed, pen)
    yield from _notes(result, pen)


def _notes(result: TraceResult, pen: _Pen) -> Iterator[str]:
    notes = [("drift", each) for each in result.drift] + [("warning", each) for each in result.warnings]
    if result.dropped_by_capture:
        notes.append(("warning", f"{result.dropped_by_capture} packets were lost by the capture"))
    if result.reply_text:
        notes.append(("answer", result.reply_text.strip()))
    if notes:
        yield ""
    for kind, text in notes:
        lines = [line for part in text.splitlines() or [""] for line in _wrap(part, WIDTH - _LABEL)]
        yield from _labelled(kind, lines, pen, style="bad" if kind == "drift" else "dim", indent=0)


def _leg(name: str, expected: Leg | None, got: Leg | None, agreed: bool, pen: _Pen) -> Iterator[str]:
    ended = words.ended(expected, got, agreed=agreed)
    yield ""
    yield from _labelled(name, _wrap(ended, WIDTH - _LABEL), pen, style="place", indent=0)
    if got and got.origin:
        yield from _causes(got.origin, pen)
    number = 0
    start_ns = got.hops[0].time_ns if got and got.hops else 0
    missed = False
    for row in side_by_side(expected, got):
        if row.got is not None:
            number += 1
            yield from _seen(number, row, row.got, start_ns, pen)
        elif row.expected is not None:
            yield from _unseen(row.expected, row.wrong, pen, brief=missed or got is None)
        missed = missed or (row.got is None and bool(row.wrong))


def _seen(number: int, row: Row, hop: Hop, start_ns: int, pen: _Pen) -> Iterator[str]:
    name = hop.point.label or hop.point.netns
    place = f"{name}  {words.ARROW[hop.direction]} {hop.point.ifname}"
    since = f"+{(hop.time_ns - start_ns) / 1000:.0f} µs" if hop.time_ns else ""
    gap = " " * max(1, WIDTH - 6 - len(place) - len(since))
    yield f"{number:>3} {pen.mark(row.wrong)} {pen('place', place)}{gap if since else ''}{pen('dim', since)}"
    yield f"      {words.packet(hop.inner)}"
    if outer := words.tunnel(hop):
        yield f"      {pen('tunnel', outer)}"
    for change in hop.changed:
        yield f"      {pen('change', change)}"
    for line in _wrap(row.wrong, WIDTH - 8) if row.wrong else ():
        yield f"      {pen('bad', '! ' + line)}"
    yield from _causes(hop.causes, pen)


def _unseen(hop: Hop, wrong: str, pen: _Pen, brief: bool) -> Iterator[str]:
    """A hop of the prediction that the packet did not show itself at. Behind the first, the place is enough."""
    name = f"{hop.point.label or hop.point.netns}  {words.ARROW[hop.direction]} {hop.point.ifname}"
    if not wrong:
        yield pen("dim", f"    · {name}")
        yield from (pen("dim", f"      {line}") for line in _wrap(f"not seen, as may be: {hop.optional}", WIDTH - 6))
        return
    yield f"    {pen.mark(wrong)} {name}  {pen('bad', 'predicted, not seen')}"
    if brief:
        return
    yield pen("dim", f"      {words.packet(hop.inner)}")
    if outer := words.tunnel(hop):
        yield pen("dim", f"      {outer}")


def _causes(causes: Iterable[Cause], pen: _Pen) -> Iterator[str]:
    for kind, text, effect in words.causes(tuple(causes)):
        whole = f"{text}  ⇒ {effect}" if effect else text
        yield from _labelled(kind, _wrap(whole, WIDTH - 6 - _LABEL), pen)


def _labelled(kind: str, lines: Sequence[str], pen: _Pen, style: str = "dim", indent: int = 6) -> Iterator[str]:
    for index, line in enumerate(lines):
        yield " " * indent + pen(style, (kind if index == 0 else "").ljust(_LABEL)) + line


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=True, break_on_hyphens=False) or [""]


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
