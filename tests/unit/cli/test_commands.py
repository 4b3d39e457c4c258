"""What commands print, and the status they end with."""

from __future__ import annotations

import json
import re

import pytest
from apitestbed import SmallTestbed, drift, filled
from served import end, serve

from emu.cli.commands import SECTIONS, compare
from emu.errors import PlanError

COMMANDS = [name for _, entries in SECTIONS for name, _ in entries]

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{containers: [{{name: c, image: {image}, resources: {{limits: {{cpu: 1}}}}}}]}}
"""


@pytest.fixture
def other(directory):
    """A second testbed, with something wrong in its kernel, and which refuses what is applied."""

    def broken():
        testbed = filled()
        testbed.drifts = (drift("10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),)
        testbed.error = PlanError("no address is left in 10.96.0.0/12", hint="a larger range")
        return testbed

    child = serve("other", directory, broken)
    yield "other"
    end(child)


def test_without_a_command_all_of_them_are_listed_in_groups(emu):
    said = emu()
    assert said.code == 0
    for title, entries in SECTIONS:
        assert f"{title}:\n" in said.out
        for name, _ in entries:
            assert re.search(rf"^  {name} +[A-Z].*[.:]", said.out, re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches(name, emu):
    said = emu(name, "--help")
    assert said.code == 0
    assert "Example" in said.out
    assert f"emu {name}" in said.out.split("Example", 1)[1]
    assert "Exit status: " in said.out


def test_a_mistyped_command_is_answered_with_the_near_one(emu):
    said = emu("trcae", "a", "b")
    assert said.code == 2
    assert "did you mean trace?" in said.err


def test_nothing_running_is_said_with_what_to_do(emu):
    said = emu("get", "pods")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: no testbed is running\n  hint: emu up ")


def test_the_only_testbed_is_meant(emu, testbed):
    assert emu("get", "ns", "default").code == 0


def test_of_two_testbeds_one_must_be_named(emu, testbed, other, monkeypatch):
    said = emu("get", "ns")
    assert said.code == 2
    assert "2 testbeds are running: other, test" in said.err
    assert emu("-t", "other", "get", "ns").code == 0
    monkeypatch.setenv("EMU_TESTBED", "test")
    assert emu("get", "ns").code == 0


def test_a_testbed_that_does_not_run_is_said_with_those_that_do(emu, testbed):
    said = emu("-t", "nothing", "get", "ns")
    assert said.code == 2
    assert "testbed nothing: is not running\n  hint: running: test" in said.err


def test_ls_tells_what_each_testbed_is(emu, testbed):
    rows = [line.split() for line in emu("ls").out.splitlines()]
    assert rows[0] == ["NAME", "STATE", "NODES", "PODS", "CNI", "PROXY", "PID"]
    assert rows[1][:6] == ["test", "ready", "2", "7", "flannel-vxlan", "iptables"]
    assert emu("ls", "-o", "name").out == "test\n"
    assert json.loads(emu("ls", "-o", "json").out)[0]["pods"] == 7


def test_ls_of_nothing_is_not_an_error(emu):
    assert emu("ls").code == 0


def test_apply_says_what_became_of_each_object(emu, testbed, tmp_path):
    file = tmp_path / "pod.yaml"
    file.write_text(POD.format(name="new", image="nicolaka/netshoot"))
    said = emu("apply", "-f", str(file))
    assert (said.code, said.out) == (0, "pod/new created\n")
    assert said.err == "ignored, as it means nothing here: Container.resources\n"
    assert emu("apply", "-f", str(file)).out == "pod/new unchanged\n"


def test_a_wrong_manifest_is_told_with_file_and_line_before_anything_is_sent(emu, testbed, tmp_path):
    file = tmp_path / "pod.yaml"
    file.write_text(POD.format(name="new", image="nicolaka/netshoot") + "colour: red\n")
    said = emu("apply", "-f", str(file))
    assert said.code == 2
    assert f"{file}:6: Pod default/new: colour" in said.err


def test_an_image_the_testbed_does_not_know_is_told_with_file_and_line(emu, testbed, tmp_path):
    file = tmp_path / "pod.yaml"
    file.write_text(POD.format(name="new", image="no/such"))
    said = emu("apply", "-f", str(file))
    assert said.code == 2
    assert re.search(rf"{file}:\d+: Pod default/new: spec.containers\[0\].image", said.err)


def test_an_error_of_the_testbed_keeps_its_message_hint_and_status(emu, other, tmp_path):
    file = tmp_path / "pod.yaml"
    file.write_text(POD.format(name="new", image="nicolaka/netshoot"))
    said = emu("apply", "-f", str(file))
    assert (said.code, said.err.splitlines()[-2:]) == (
        2,
        ["error: no address is left in 10.96.0.0/12", "  hint: a larger range"],
    )


def test_debug_shows_where_an_error_comes_from(emu):
    with pytest.raises(Exception, match="no testbed is running"):
        emu("--debug", "get", "pods")


def test_delete_from_a_file_deletes_what_stands_in_it(emu, testbed, tmp_path):
    file = tmp_path / "pod.yaml"
    file.write_text(POD.format(name="client", image="nicolaka/netshoot"))
    assert emu("delete", "-f", str(file)).out == 'pod "client" deleted\n'
    assert emu("delete", "-f", str(file)).code == 2
    assert emu("delete", "-f", str(file), "--ignore-not-found").code == 0


def test_check_ends_with_1_when_the_kernel_is_not_as_planned(emu, testbed, other):
    assert emu("-t", "test", "check").code == 0
    said = emu("-t", "other", "check")
    assert said.code == 1
    assert said.out == "node1: route: missing: 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink\n"


def test_describe_takes_the_beginning_of_a_name(emu, testbed):
    said = emu("describe", "pod", "web-")
    assert said.out.count("Name:  ") == 2


def test_logs_can_be_of_the_previous_run_and_only_the_last_lines(emu, testbed):
    assert emu("logs", "client", "--previous").out == "default/client/shell\nprevious True\nlast line\n"
    assert emu("logs", "pod/client", "--tail", "1").out == "last line\n"
    said = emu("logs", "client", "-c", "nothing")
    assert (said.code, "its containers: shell" in said.err) == (2, True)


def test_plan_needs_no_testbed(emu, tmp_path):
    file = tmp_path / "topology.yaml"
    file.write_text("name: pure\nnodes: 2\n")
    said = emu("plan", str(file))
    assert said.code == 0
    assert said.out.startswith("#!/bin/bash\n# pure:")
    assert "ip netns add node2" in said.out
    assert json.loads(emu("plan", str(file), "-o", "json").out)["name"] == "pure"


def test_up_of_a_wrong_topology_starts_nothing(emu, tmp_path):
    file = tmp_path / "topology.yaml"
    file.write_text("name: wrong\nnodes: 0\n")
    said = emu("up", str(file))
    assert said.code == 2
    assert f"{file}:2: " in said.err
    assert emu("ls").out == ""


def test_down_of_what_does_not_run_is_an_error(emu):
    assert emu("down", "nothing").code == 2


def test_packets_do_not_go_to_a_terminal_or_to_nowhere(emu, testbed):
    assert emu("capture").code == 2


def test_an_empty_testbed_has_no_resources(emu, directory):
    child = serve("empty", directory, SmallTestbed)
    said = emu("get", "pods")
    end(child)
    assert (said.code, said.out, said.err) == (0, "", "No resources found in default namespace.\n")


def test_a_comparison_takes_the_modes_that_a_name_is_enough_for_and_refuses_none_at_all(emu):
    modes = compare.modes_of(None)
    assert "flannel-vxlan" in modes
    assert "plugins" not in modes
    assert compare.modes_of("vm, plugins,vm") == ("vm", "plugins")
    for nothing in ("", ","):
        ended = emu("compare", "--modes", nothing)
        assert (ended.code, ended.err.splitlines()[0]) == (2, "error: --modes: names no CNI mode")


def test_logs_and_exec_take_what_has_pods_for_one_of_them(emu, testbed):
    first = emu("get", "pods", "-l", "app=web", "-o", "name").out.split()[0].removeprefix("pod/")
    said = emu("logs", "deploy/web")
    assert (said.code, said.err) == (0, f"Found 2 pods, using pod/{first}\n")
    assert emu("exec", "svc/web", "--", "echo", "hello").out == "hello\n"
    assert emu("exec", "pod/client", "--", "echo", "hello").out == "hello\n"
    assert "kubernetes does not say by labels alone" in emu("logs", "svc/kubernetes").err
    assert 'deployments.apps "nothing" not found' in emu("exec", "deploy/nothing", "--", "true").err


def test_what_kubectl_has_besides_is_answered_with_what_there_is(emu):
    assert "of kubectl's there are get, describe, apply" in emu("rollout", "restart", "deploy/web").err
    assert "there is no command version: emu --version" in emu("version").err


def test_an_options_value_may_stand_behind_an_equals_sign_as_for_kubectl(emu, testbed):
    assert emu("get", "pod", "client", "-o=name", "-n=default").out == "pod/client\n"
    assert emu("exec", "client", "--", "echo", "-o=x").out == "-o=x\n"
