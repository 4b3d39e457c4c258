"""The kinds of steps, one file each. A new one: a file here, and its class in this tuple."""

from __future__ import annotations

from emu.experiment.steps.apply import Apply
from emu.experiment.steps.breaking import Break
from emu.experiment.steps.capture import Capture
from emu.experiment.steps.delete import Delete
from emu.experiment.steps.expect_drop import ExpectDrop
from emu.experiment.steps.expect_packets import ExpectPackets
from emu.experiment.steps.expect_path import ExpectPath
from emu.experiment.steps.expect_queries import ExpectQueries
from emu.experiment.steps.expect_refusal import ExpectRefusal
from emu.experiment.steps.expect_table import ExpectTable
from emu.experiment.steps.measure import Measure
from emu.experiment.steps.mend import Mend
from emu.experiment.steps.ping import Ping
from emu.experiment.steps.request import Request
from emu.experiment.steps.run import Run
from emu.experiment.steps.scale import Scale
from emu.experiment.steps.wait_until import WaitUntil

STEPS = (
    Apply,
    Delete,
    Scale,
    Run,
    Request,
    Ping,
    Break,
    Mend,
    ExpectPath,
    ExpectRefusal,
    ExpectDrop,
    ExpectTable,
    Capture,
    ExpectPackets,
    ExpectQueries,
    Measure,
    WaitUntil,
)
