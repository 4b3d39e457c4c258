"""AGE is written as kubectl writes it."""

from __future__ import annotations

import pytest

from emu.apiserver.duration import human, since

M, H, D, Y = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-0.5, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (2 * M, "2m"),
        (9 * M + 59, "9m59s"),
        (10 * M + 59, "10m"),
        (179 * M, "179m"),
        (3 * H, "3h"),
        (7 * H + 59 * M, "7h59m"),
        (8 * H + 59 * M, "8h"),
        (47 * H, "47h"),
        (2 * D, "2d"),
        (7 * D + 23 * H, "7d23h"),
        (8 * D + 23 * H, "8d"),
        (729 * D, "729d"),
        (2 * Y, "2y"),
        (2 * Y + 3 * D, "2y3d"),
        (8 * Y + 3 * D, "8y"),
    ],
)
def test_the_unit_that_matters_is_shown(seconds, text):
    assert human(seconds) == text


def test_an_object_without_a_creation_time_has_no_age():
    assert since("") == "<unknown>"


def test_times_are_utc():
    assert since("1970-01-01T00:01:00Z", now=90) == "30s"
