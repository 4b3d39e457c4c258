"""The rounds: each visits every mode once, in an order turned by one, so that what disturbs the machine for a while
disturbs all modes, and none has always the same neighbor."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from emu.errors import EmuError
from emu.experiment import measuring
from emu.experiment.comparison import facts
from emu.experiment.comparison.cluster import CLIENT, CLIENT_NODE, SERVER
from emu.experiment.measuring import Throughput
from emu.experiment.model import Failed, Skipped
from emu.experiment.testbed import Testbed
from emu.report.comparison import Circumstances, Comparison, Round, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    modes: tuple[str, ...]
    nodes: int
    rounds: int
    seconds: int
    pings: int
    together: bool


#: A testbed of a mode for one visit. Raises EmuError, on entering, where there can be none.
Visit = Callable[[str], AbstractContextManager[Testbed]]
#: (what, done, total)
Tell = Callable[[str, int, int], None]


def compare(wanted: Wanted, visit: Visit, directory: Path, tell: Tell) -> Comparison:
    """`directory` gets a folder of each mode: its path as text, the packets, the commands that made its network."""
    began, load = datetime.now(UTC), measuring.load()
    rows, total = {mode: Row(mode=mode) for mode in wanted.modes}, len(wanted.modes) * (wanted.rounds + 1)
    for done, mode in enumerate(wanted.modes):
        tell(f"{mode}: proving the path", done, total)
        rows[mode] = _visited(rows[mode], visit, lambda row, testbed: _found(row, testbed, directory))
    busy = measuring.busy()
    for number in range(wanted.rounds):
        for done, mode in enumerate(order(wanted.modes, number), (number + 1) * len(wanted.modes)):
            tell(f"{mode}: measuring, round {number + 1} of {wanted.rounds}", done, total)
            rows[mode] = _visited(rows[mode], visit, lambda row, testbed: _measured(row, wanted, testbed))
    circumstances = Circumstances(
        started=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        kernel=platform.release(),
        processors=os.cpu_count() or 1,
        busy=busy,
        load_before=load,
        load_after=measuring.load(),
        together=wanted.together,
        nodes=wanted.nodes,
        rounds=wanted.rounds,
        seconds=wanted.seconds,
        pings=wanted.pings,
    )
    return Comparison(circumstances=circumstances, rows=tuple(rows.values()))


def order(modes: Sequence[str], number: int) -> list[str]:
    first = number % len(modes)
    return [*modes[first:], *modes[:first]]


def _visited(row: Row, visit: Visit, work: Callable[[Row, Testbed], Row]) -> Row:
    """Nothing more is asked of a mode that is not there, is not as predicted, or brings no packet there by design."""
    if row.why_not or row.failed or (row.proof and not (row.proof.ok and row.proof.delivered)):
        return row
    try:
        with visit(row.mode) as testbed:
            return work(row, testbed)
    except Failed as failure:
        return replace(row, failed=str(failure))
    except EmuError as error:
        told = f"{error.message}{f' ({error.hint})' if error.hint else ''}"
        return replace(row, failed=told) if row.proof else replace(row, why_not=told)


def _found(row: Row, testbed: Testbed, directory: Path) -> Row:
    kept = directory / row.mode
    kept.mkdir(parents=True, exist_ok=True)
    return replace(row, proof=facts.proof(testbed, kept), state=facts.state(testbed))


def _measured(row: Row, wanted: Wanted, testbed: Testbed) -> Row:
    load, address = measuring.load(), facts.address(testbed)
    measuring.latencies_us(testbed.run, CLIENT, address, 1)  # neighbors are known from here on
    latencies = measuring.latencies_us(testbed.run, CLIENT, address, wanted.pings)
    stream, frame_bytes = _stream(testbed, address, wanted.seconds)
    this = Round(
        latencies_us=tuple(latencies),
        mbit=stream.mbit if stream else None,
        retransmissions=stream.retransmissions if stream else 0,
        frame_bytes=frame_bytes,
        load=load,
    )
    return replace(row, rounds=(*row.rounds, this))


def _stream(testbed: Testbed, address: str, seconds: int) -> tuple[Throughput | None, int]:
    """And the mean length of the frames that the Node's uplink has sent meanwhile."""
    before = measuring.interface(testbed.run, CLIENT_NODE, "eth0")
    try:
        stream = measuring.throughput(testbed.run, CLIENT, SERVER, address, seconds)
    except Skipped:
        return None, 0
    after = measuring.interface(testbed.run, CLIENT_NODE, "eth0")
    frames = after.sent_frames - before.sent_frames
    return stream, (after.sent_bytes - before.sent_bytes) // frames if frames else 0
