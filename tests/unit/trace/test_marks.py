"""The mark by which a route was chosen, from what the rules did."""

from __future__ import annotations

import pytest

from emu.trace.changed import connection_marked, ttl_set
from emu.trace.marks import mark_of

RESTORE = "-t mangle -A PREROUTING -i eni+ -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80"
SET = "-t nat -A A -j CONNMARK --set-xmark 0x80/0x80"
MARK = "-t nat -A B -j MARK --set-xmark 0x4000/0x4000"


@pytest.mark.parametrize(
    ("lines", "connection", "mark"),
    [
        ([], 0x80, 0),
        ([SET], 0x80, 0),
        ([SET, RESTORE], 0x80, 0x80),
        ([RESTORE], 0, 0),
        ([RESTORE], 0x7F, 0),
        ([MARK, RESTORE], 0x80, 0x4080),
        ([RESTORE, "-t nat -A B -j MARK --set-xmark 0x0/0xffffffff"], 0x80, 0),
    ],
)
def test_a_route_is_asked_for_with_the_mark_of_packet_and_connection(
    lines: list[str], connection: int, mark: int
) -> None:
    assert mark_of(lines, connection) == mark


def test_what_these_rules_do_is_said_in_words() -> None:
    assert connection_marked("--set-xmark 0x80/0x80") == "connection mark 0x80 set"
    assert connection_marked("--restore-mark --nfmask 0x80 --ctmask 0x80").startswith(
        "mark taken from the connection's"
    )
    assert connection_marked("--save-mark --nfmask 0x80 --ctmask 0x80").startswith("mark kept as the connection's")
    assert ttl_set("--ttl-inc 1") == "ttl + 1"
