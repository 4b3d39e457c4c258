"""trace and verify end with 1 when a path is not a predicted one, and leave what they saw."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
from apitestbed import drift, filled
from served import end, serve


@pytest.fixture
def broken(directory):
    """A testbed one of whose paths is not as predicted."""

    def made():
        testbed = filled()
        testbed.drifts = (drift("a route"),)
        return testbed

    child = serve("broken", directory, made)
    yield "broken"
    end(child)


def test_a_predicted_path_ends_with_0(emu, testbed):
    said = emu("trace", "client", "web:80", "--udp")
    assert (said.code, said.out.splitlines()[0]) == (0, "client → web:80 udp (tcp)")


def test_another_path_ends_with_1_and_says_where_it_parts(emu, testbed):
    said = emu("trace", "client", "broken:80")
    assert said.code == 1
    assert "it went elsewhere" in said.out


def test_a_command_is_followed_with_its_own_options(emu, testbed):
    assert "client → web:80  curl -s --max-time 1 http://web" in emu(
        "trace", "client", "web:80", "--", "curl", "-s", "--max-time", "1", "http://web"
    ).out.replace("web:80 curl", "web:80  curl")


def test_a_file_for_packets_that_cannot_be_written_is_told_before_anything_is_sent(emu, testbed, tmp_path):
    said = emu("trace", "client", "web:80", "-w", str(tmp_path / "no" / "x.pcapng"))
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1].endswith("x.pcapng cannot be written: No such file or directory")


def test_a_trace_is_json_for_programs(emu, testbed):
    said = emu("trace", "client", "web:80", "-o", "json")
    assert json.loads(said.out)["ok"] is True


def test_two_protocols_exclude_each_other(emu, testbed):
    assert emu("trace", "client", "web:80", "--udp", "--icmp").code == 2


def test_verify_ends_with_0_when_every_path_is_a_predicted_one(emu, testbed):
    said = emu("verify")
    assert (said.code, said.out.splitlines()[-1]) == (0, "2 of 2 paths are as predicted")


def test_verify_ends_with_1_when_one_is_not(emu, broken):
    said = emu("verify", "broken", "-o", "junit")
    assert said.code == 1
    assert 'tests="2" failures="1"' in said.out


def test_verify_prints_a_line_for_each_path_and_hops_when_asked(emu, testbed):
    assert emu("verify").out == "✓ one (tcp)\n✓ two (tcp)\n2 of 2 paths are as predicted\n"
    assert emu("verify", "--hops").out.count("the observed path is the predicted one") == 2


def test_verify_prints_the_hops_of_what_went_another_way(emu, broken):
    said = emu("verify", "broken").out
    assert said.startswith("two (tcp)\n  ✗ ")
    assert said.endswith("1 of 2 paths are as predicted\n")
    assert "one (tcp)\n  ✓" not in said


def test_verify_keeps_packets_commands_and_reports(emu, testbed, tmp_path):
    said = emu("verify", "running", "--output", str(tmp_path / "a" / "b"))
    kept = {each.name: each.read_text() for each in (tmp_path / "a" / "b").iterdir()}
    assert set(kept) == {"all.pcapng", "commands.sh", "result.json", "junit.xml", "report.html"}
    assert kept["all.pcapng"] == "packets"
    assert kept["commands.sh"].startswith("#!/bin/bash")
    assert "junit.xml" in said.err


def test_changes_are_printed_as_they_come(testbed, emu, tmp_path):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        program = "import sys; from emu.cli.main import run; sys.exit(run(None))"
        os.execv(sys.executable, [sys.executable, "-c", program, "get", "pods", "-w", "-l", "app=client"])
    os.close(writing)
    with open(reading) as lines:
        assert lines.readline().split()[0] == "NAME"
        assert lines.readline().split()[:3] == ["client", "1/1", "Running"]
        emu("delete", "pod", "client", "--no-wait")
        assert lines.readline().split()[0] == "client"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
