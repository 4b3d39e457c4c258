"""The modes side by side: what was proved and measured of each, as values; then a table, Markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import TypeVar

from emu.report.spread import Spread, spread

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What became of a packet from a Pod to one on another Node. `ok`: it took the predicted path, or failed as
    predicted. `overhead_bytes`: how much longer its frame was at the Node's uplink than at the Pod; None: not seen at
    both."""

    ok: bool
    delivered: bool
    told: str
    interfaces: int  # that it was seen at, on the way there
    routers: int  # that lowered its TTL, the Nodes among them
    wire: str  # as it left the Node
    overhead_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the mode has made: in the client's Pod, and on its Node."""

    mtu: int
    rules: int  # of iptables, all tables
    routes: int  # without those of table local
    ip_rules: int  # without the kernel's three
    pod_qdisc: str
    node_qdisc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One visit. Without iperf3 there is no throughput. `frame_bytes`: the mean of what the Node's uplink sent while
    it was measured; more than its MTU: frames went uncut (segmentation offload)."""

    latencies_us: tuple[float, ...]
    mbit: float | None = None
    retransmissions: int = 0
    frame_bytes: int = 0
    load: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`why_not`: this machine, or this cluster, cannot have the mode. `failed`: it came up and then went wrong."""

    mode: str
    why_not: str = ""
    failed: str = ""
    proof: Proof | None = None
    state: State | None = None
    rounds: tuple[Round, ...] = ()

    @property
    def ok(self) -> bool:
        return bool(self.why_not) or (not self.failed and self.proof is not None and self.proof.ok)

    @property
    def throughput(self) -> Spread | None:
        values = [each.mbit for each in self.rounds if each.mbit is not None]
        return spread(values) if values else None

    @property
    def latency(self) -> Spread | None:
        values = [value for each in self.rounds for value in each.latencies_us]
        return spread(values) if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the figures hang on. `busy`: the share of the processors that others used before it began. `together`: all
    testbeds were up all the time, or each for its visits alone."""

    started: str  # RFC 3339
    kernel: str
    processors: int
    busy: float
    load_before: float
    load_after: float
    together: bool
    nodes: int
    rounds: int
    seconds: int  # of each stream
    pings: int  # of each round


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    circumstances: Circumstances
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def possible(self) -> bool:
        return any(not row.why_not for row in self.rows)


#: Headings, and each row's cell below; numbers are told at the right.
_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("mode", lambda row: row.mode),
    ("path", lambda row: _path(row)),  # noqa: PLW0108 - it stands below
    ("hops", lambda row: _of(row.proof, lambda proof: str(proof.interfaces))),
    ("bytes more", lambda row: _of(row.proof, lambda proof: _or_dash(proof.overhead_bytes))),
    ("MTU", lambda row: _of(row.state, lambda state: str(state.mtu))),
    ("rules", lambda row: _of(row.state, lambda state: str(state.rules))),
    ("routes", lambda row: _of(row.state, lambda state: str(state.routes))),
    ("ip rules", lambda row: _of(row.state, lambda state: str(state.ip_rules))),
    ("Mbit/s", lambda row: _of(row.throughput, _range)),
    ("sent again", lambda row: _of(row if row.throughput else None, _resent)),
    ("RTT µs", lambda row: _of(row.latency, lambda of: f"{of.median:.0f} ({of.p95:.0f}, sd {of.deviation:.0f})")),
    ("on the wire between the Nodes", lambda row: _of(row.proof, lambda proof: proof.wire) if not row.why_not else ""),
)
UNCUT = 9100  # bytes: no MTU is so large
_LEFT = (0, 1, len(_COLUMNS) - 1)
_LEGEND = (
    "✓: of a packet from a Pod to one on another Node, what was observed is what was predicted",
    "hops: interfaces at which the packet was seen; bytes more: of its frame at the Node's uplink against the Pod's",
    "Mbit/s: median (least–most) of the rounds; sent again: TCP segments, median; RTT: median (95 % under, deviation)",
)


def table(comparison: Comparison) -> str:
    """For a terminal: the table, then what it cannot say in its cells, then the circumstances."""
    cells = _cells(comparison)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(_aligned, row, widths, range(len(row)))).rstrip() for row in cells]
    return "\n".join((*lines, "", *_LEGEND, *_notes(comparison), *_circumstances(comparison))) + "\n"


def markdown(comparison: Comparison) -> str:
    heading, *rows = _cells(comparison)
    rule = ["---" if index in _LEFT else "---:" for index in range(len(heading))]
    lines = [f"| {' | '.join(each)} |" for each in (heading, rule, *rows)]
    told = [f"- {line}" for line in (*_LEGEND, *_notes(comparison), *_circumstances(comparison))]
    return "\n".join((*lines, "", *told)) + "\n"


def as_json(comparison: Comparison) -> str:
    """Every figure of every round, and those of the table."""
    rows = [{"ok": row.ok, **asdict(row), **_figures(row)} for row in comparison.rows]
    whole = {"ok": comparison.ok, "circumstances": asdict(comparison.circumstances), "modes": rows}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


FORMS: Mapping[str, Callable[[Comparison], str]] = {"table": table, "markdown": markdown, "json": as_json}


def _figures(row: Row) -> dict[str, object]:
    found = {"throughput_mbit": row.throughput, "latency_us": row.latency}
    return {name: each.figures() for name, each in found.items() if each}


def _cells(comparison: Comparison) -> list[list[str]]:
    return [[name for name, _ in _COLUMNS], *([cell(row) for _, cell in _COLUMNS] for row in comparison.rows)]


def _aligned(cell: str, width: int, index: int) -> str:
    return cell.ljust(width) if index in _LEFT else cell.rjust(width)


def _path(row: Row) -> str:
    if row.why_not:
        return "–"
    if not row.ok or row.proof is None:
        return "✗"
    return "✓ arrives" if row.proof.delivered else "✓ fails"


def _of(value: T | None, told: Callable[[T], str]) -> str:
    return "–" if value is None else told(value)


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)


def _range(of: Spread) -> str:
    return f"{of.median:,.0f} ({of.least:,.0f}–{of.most:,.0f})"


def _resent(row: Row) -> str:
    return f"{median(each.retransmissions for each in row.rounds):.0f}"


def _notes(comparison: Comparison) -> Iterator[str]:
    for row in comparison.rows:
        if row.why_not:
            yield f"{row.mode}: cannot run here: {row.why_not}"
        elif row.failed:
            yield f"{row.mode}: {row.failed}"
        elif row.proof and (not row.proof.ok or not row.proof.delivered):
            word = "fails as predicted" if row.proof.ok else "not as predicted"
            yield f"{row.mode}: {word}: {row.proof.told}"


def _circumstances(comparison: Comparison) -> Iterator[str]:
    of = comparison.circumstances
    streams = [row for row in comparison.rows if row.throughput]
    yield (
        f"{of.nodes} Nodes; rounds: {of.rounds}, the modes' order turned by one each; "
        f"{'all testbeds up at once' if of.together else 'each testbed up for its visits alone'}; "
        f"one TCP stream of {of.seconds} s and {of.pings} pings a visit"
    )
    yield (
        f"Linux {of.kernel}, {of.processors} processors, of which others used {of.busy:.0%}; "
        f"load {of.load_before:.2f} before, {of.load_after:.2f} after"
    )
    if not streams:
        return
    yield f"qdisc: {_grouped({row.mode: _of(row.state, _qdiscs) for row in streams})}"
    frames = [median(each.frame_bytes for each in row.rounds) for row in streams]
    if frames := [each for each in frames if each]:  # none crosses a Node where a Pod is a machine of its own
        cut = ": frames went uncut (segmentation offload), so that no wire could be as fast"
        told = f"{min(frames):,.0f}–{max(frames):,.0f} bytes{cut if max(frames) > UNCUT else ''}"
        yield f"mean frame of a stream on the uplink: {told}"


def _qdiscs(state: State) -> str:
    return f"{state.pod_qdisc} at the Pod, {state.node_qdisc} at the Node"


def _grouped(said: Mapping[str, str]) -> str:
    """What is so of all modes, once; else each with its mode."""
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{mode} {text}" for mode, text in said.items())
