"""One self-contained page: every traced request with a drawing of its way, its hops, and their causes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from emu.report import svg, words
from emu.trace.compare import Row, side_by_side
from emu.trace.model import Cause, Leg, TraceResult

_STYLE = """
:root { color-scheme: light dark; --fg: #1d2329; --bg: #fff; --soft: #eef1f4; --line: #ccd3da; --dim: #5f6b75 }
@media (prefers-color-scheme: dark) {
  :root { --fg: #e4e8ec; --bg: #14181c; --soft: #1f252b; --line: #38424c; --dim: #9aa6b1 }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--fg); background: var(--bg); margin: 2rem auto;
  max-width: 90rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 0 } h3 { font-size: .95rem; margin: 1rem 0 .3rem }
.good { color: #2c8a4b } .bad { color: #c0392b } .dim { color: var(--dim) }
details { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; margin: .6rem 0 }
summary { cursor: pointer } summary h2 { display: inline }
table { border-collapse: collapse; width: 100%; table-layout: fixed; min-width: 45rem;
  font-size: .85rem }
td, th { border-top: 1px solid var(--line); padding: .3rem .5rem; text-align: left; vertical-align: top }
code, pre { font: .8rem ui-monospace, monospace; overflow-wrap: anywhere } pre { white-space: pre-wrap }
.way { overflow-x: auto } .way svg { max-width: max(100%, 60rem); height: auto }
.mark { width: 1rem } .where { width: 15% } .packet { width: 32% }
.place { fill: var(--soft); stroke: var(--line) }
.name { font: 600 12px system-ui; fill: var(--fg) } .point { font: 11px ui-monospace, monospace; fill: #fff;
  text-anchor: middle } .missed { fill: var(--fg) }
.small { font: 10px ui-monospace, monospace; fill: var(--dim) } .outer { fill: #b3541e }
.wire { stroke: var(--dim); stroke-width: 1.5 } .wire.tunnel { stroke: #b3541e; stroke-width: 4; opacity: .6 }
.stop { stroke-width: 2 } .unseen { fill-opacity: .25; stroke-dasharray: 4 3 }
"""


def trace_page(results: Sequence[TraceResult], title: str) -> str:
    """Needs nothing from anywhere: no script, no font, no image."""
    return page(title, "".join(_traces(results)))


def page(title: str, body: str) -> str:
    """The frame and the look that all reports share. `body` is HTML."""
    head = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{head}<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n{body}</body></html>\n"


def trace_section(result: TraceResult) -> str:
    """One request, for a page of another report."""
    return "".join(_result(result))


def _traces(results: Sequence[TraceResult]) -> Iterator[str]:
    good = sum(result.ok for result in results)
    style = "good" if good == len(results) else "bad"
    yield f'<p class="{style}">{good} of {len(results)} paths are as predicted.</p>\n'
    for result in results:
        yield from _result(result)


def _result(result: TraceResult) -> Iterator[str]:
    style, mark = ("good", "✓") if result.ok else ("bad", "✗")
    yield f'<details{"" if result.ok else " open"}><summary><h2><span class="{style}">{mark}</span> '
    yield f"{escape(words.title(result.flow))}</h2></summary>\n<p>{escape(words.outcome(result))}</p>\n"
    yield from (f'<p class="bad">drift: {escape(each)}</p>\n' for each in result.drift)
    index = words.nearest(result)
    path = result.prediction.paths[index] if index is not None else None
    agreed = result.matched is not None
    yield from _leg("Forward", path.forward if path else None, result.observed.forward, agreed)
    yield from _leg("Reply", path.reply if path else None, result.observed.reply, agreed)
    yield from (f'<p class="dim">{escape(each)}</p>' for each in result.warnings)
    if result.dropped_by_capture:
        yield f'<p class="bad">{result.dropped_by_capture} packets were lost by the capture</p>'
    if result.reply_text:
        yield f"<pre>{escape(result.reply_text)}</pre>"
    yield "</details>\n"


def _leg(name: str, expected: Leg | None, got: Leg | None, agreed: bool) -> Iterator[str]:
    if expected is None and got is None:
        return
    ended = words.ended(expected, got, agreed=agreed)
    rows = side_by_side(expected, got)
    yield f'<h3>{name} <span class="dim">{escape(ended)}</span></h3>\n'
    if not rows:
        return
    yield f'<div class="way">{svg.leg(rows)}</div>\n'
    yield '<div class="way"><table><tr><th class="mark"></th><th class="where">where</th><th class="packet">packet</th>'
    yield "<th>why it went on</th></tr>\n"
    if got and got.origin:
        yield f"<tr><td></td><td>from the socket</td><td></td><td>{_causes(got.origin)}</td></tr>\n"
    yield from (_row(row) for row in rows)
    yield "</table></div>\n"


def _row(row: Row) -> str:
    hop = row.got or row.expected
    assert hop is not None
    style, mark = ("bad", "✗") if row.wrong else ("good", "✓") if row.got else ("dim", "·")
    said = [f"<code>{escape(words.packet(hop.inner))}</code>"]
    said += [f"<code>{escape(outer)}</code>"] if (outer := words.tunnel(hop)) else []
    said += [f"<b>{escape(change)}</b>" for change in hop.changed] if row.got else []
    said += [f'<span class="bad">{escape(row.wrong)}</span>'] if row.wrong else []
    said += [f'<span class="dim">{escape(hop.optional)}</span>'] if not row.got and hop.optional else []
    where = f"{hop.point.label or hop.point.netns} <b>{words.ARROW[hop.direction]} {escape(hop.point.ifname)}</b>"
    causes = _causes(row.got.causes) if row.got else ""
    return f'<tr><td class="{style}">{mark}</td><td>{where}</td><td>{"<br>".join(said)}</td><td>{causes}</td></tr>\n'


def _causes(causes: Sequence[Cause]) -> str:
    lines = []
    for kind, text, effect in words.causes(causes):
        tail = f" ⇒ {escape(effect)}" if effect else ""
        lines.append(f'<span class="dim">{escape(kind)}</span> <code>{escape(text)}</code>{tail}')
    return "<br>".join(lines)
