"""Elastic tabs: Go's text/tabwriter, as describe uses it."""

from __future__ import annotations

from emu.apiserver.describe.lines import align


def test_lines_that_follow_each_other_share_a_column():
    assert align(["a:\tx", "long:\ty"]) == "a:     x\nlong:  y\n"


def test_a_line_without_tabs_parts_the_blocks():
    assert align(["a:\tx", "Title:", "long:\ty"]) == "a:  x\nTitle:\nlong:  y\n"


def test_an_inner_column_ends_where_a_line_lacks_it():
    assert align(["a\tbbb\tc", "a\tb", "a\tb\tc"]) == "a  bbb  c\na  b\na  b  c\n"


def test_what_stands_behind_the_last_tab_is_in_no_column():
    assert align(["a\tvery long", "b\tx\ty"]) == "a  very long\nb  x  y\n"
