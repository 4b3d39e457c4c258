"""What the shell offers after TAB."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete

from emu.cli.main import emu as group


def offered(line: str) -> list[str]:
    *words, last = line.split(" ")
    return [each.value for each in BashComplete(group, {}, "emu", "_EMU_COMPLETE").get_completions(words[1:], last)]


def test_commands():
    assert offered("emu de") == ["describe", "delete"]


@pytest.mark.parametrize(("line", "names"), [("emu get po", ["pods"]), ("emu get pods,se", ["pods,services"])])
def test_kinds(line, names):
    assert offered(line) == names


def test_names_of_objects_of_the_running_testbed(testbed):
    assert offered("emu get pods cl") == ["client"]
    assert offered("emu describe svc/w") == ["svc/web"]
    assert offered("emu delete pod client a") == ["agent-dnnfz", "agent-s7w4f"]
    assert offered("emu get pods -n kube-system coredns-")[0].startswith("coredns-")
    assert offered("emu exec c") == ["client"]
    assert offered("emu exec node/") == ["node/node1", "node/node2"]
    assert offered("emu trace w")[-1] == "web"
    assert "kube-system" in offered("emu get pods -n kube-")


def test_names_of_testbeds(testbed):
    assert offered("emu down te") == ["test"]
    assert offered("emu -t te") == ["test"]


def test_nothing_when_no_testbed_runs(directory):
    assert offered("emu get pods cl") == []
