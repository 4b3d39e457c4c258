"""The protocol between a runtime and CNI plugins, with plugins that write down how they were called."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emu.errors import PluginError
from emu.kernel import process
from emu.kernel.cniprotocol import Caller
from emu.kernel.process import Completed
from emu.plan.attachment import Attachment, PluginList

RESULT = {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}]}
#: Writes what it was asked, and answers ADD with its name added to the result before.
PLUGIN = f"""#!{sys.executable}
import json, os, sys
config, name, env = json.load(sys.stdin), os.path.basename(sys.argv[0]), dict(os.environ)
command, here = env["CNI_COMMAND"], os.path.dirname(sys.argv[0])
cni = {{key: value for key, value in env.items() if key.startswith("CNI_")}}
with open(here + "/calls", "a") as calls:
    calls.write(json.dumps([command, name, config, cni]) + "\\n")
if os.path.exists(f"{{here}}/{{name}}.{{command}}"):
    print(open(f"{{here}}/{{name}}.{{command}}").read())
    sys.exit(1)
if command == "ADD":
    result = config.get("prevResult") or {RESULT!r}
    print(json.dumps(result | {{"by": [*result.get("by", []), name]}}))
if command == "VERSION":
    print(json.dumps({{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}}))
"""


class Plugins:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("first", "second", "third"):
            (directory / name).write_text(PLUGIN)
            (directory / name).chmod(0o755)
        self.caller = Caller(run=self._run, environment=process.ENVIRONMENT)
        objects: list[dict[str, Any]] = [
            {"type": "first", "mtu": 1400},
            {"type": "second", "capabilities": {"portMappings": True, "ips": False}},
            {"type": "third"},
        ]
        self.network = PluginList(
            name="mynet", version="1.1.0", paths=(str(directory),), plugins=tuple(map(json.dumps, objects))
        )
        self.attachment = Attachment(
            network=self.network,
            node="node1",
            pod="default/web",
            container_id="c0ffee",
            args=(("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")),
            capabilities=(("portMappings", '[{"hostPort": 80}]'), ("ips", '["10.0.0.9"]')),
        )

    def _run(self, argv: Sequence[str], stdin: str, env: Mapping[str, str]) -> Completed:
        return process.run(argv, stdin=stdin, env=env, check=False)

    def fails(self, name: str, command: str, says: str) -> None:
        (self.directory / f"{name}.{command}").write_text(says)

    def calls(self) -> list[tuple[str, str, dict[str, Any], dict[str, str]]]:
        file = self.directory / "calls"
        return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []

    def order(self) -> list[str]:
        return [f"{command} {name}" for command, name, _, _ in self.calls()]


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


def test_add_goes_through_the_list_and_each_gets_the_result_of_the_one_before(plugins: Plugins) -> None:
    result = plugins.caller.add(plugins.attachment, "/run/netns/web")
    assert plugins.order() == ["ADD first", "ADD second", "ADD third"]
    assert result == RESULT | {"by": ["first", "second", "third"]}
    before = [config.get("prevResult") for _, _, config, _ in plugins.calls()]
    assert before == [None, RESULT | {"by": ["first"]}, RESULT | {"by": ["first", "second"]}]


def test_a_plugin_gets_its_own_object_the_lists_name_and_version_and_what_it_declares(plugins: Plugins) -> None:
    plugins.caller.add(plugins.attachment, "/run/netns/web")
    (_, _, first, env), (_, _, second, _), _ = plugins.calls()
    assert first == {"type": "first", "mtu": 1400, "name": "mynet", "cniVersion": "1.1.0"}
    assert second["runtimeConfig"] == {"portMappings": [{"hostPort": 80}]} and "capabilities" not in second
    assert env == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c0ffee",
        "CNI_NETNS": "/run/netns/web",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
        "CNI_PATH": str(plugins.directory),
    }


def test_add_stops_at_the_first_failure_and_tells_it_in_the_plugins_words(plugins: Plugins) -> None:
    plugins.fails("second", "ADD", '{"cniVersion": "1.1.0", "code": 7, "msg": "no VLAN", "details": "42"}')
    with pytest.raises(PluginError) as caught:
        plugins.caller.add(plugins.attachment, "/run/netns/web")
    assert plugins.order() == ["ADD first", "ADD second"]
    assert caught.value.message == "CNI plugin second (ADD for Pod default/web): no VLAN: 42 (code 7)"
    assert caught.value.code == 7 and "does not take its configuration" in caught.value.hint


def test_a_plugin_that_fails_without_json_is_quoted(plugins: Plugins) -> None:
    plugins.fails("first", "ADD", "panic: nil map")
    with pytest.raises(PluginError, match=r"ADD for Pod default/web\): panic: nil map \(exit status 1\)"):
        plugins.caller.add(plugins.attachment, "/run/netns/web")


def test_a_result_that_is_not_json_is_an_error(plugins: Plugins) -> None:
    (plugins.directory / "third").write_text("#!/bin/sh\necho all right\n")
    with pytest.raises(PluginError, match="its result is not JSON: all right"):
        plugins.caller.add(plugins.attachment, "/run/netns/web")


def test_del_goes_the_other_way_with_the_final_result_and_goes_on_after_errors(plugins: Plugins) -> None:
    plugins.fails("third", "DEL", '{"code": 5, "msg": "no such file"}')
    errors = plugins.caller.delete(plugins.attachment, "/run/netns/web", RESULT)
    assert plugins.order() == ["DEL third", "DEL second", "DEL first"]
    assert all(config["prevResult"] == RESULT for _, _, config, _ in plugins.calls())
    assert [each.message for each in errors] == ["CNI plugin third (DEL for Pod default/web): no such file (code 5)"]


def test_del_after_a_failed_add_has_no_result(plugins: Plugins) -> None:
    assert plugins.caller.delete(plugins.attachment, "/run/netns/web", None) == []
    assert all("prevResult" not in config for _, _, config, _ in plugins.calls())


def test_check_is_asked_in_order_but_not_where_the_list_disables_it(plugins: Plugins) -> None:
    plugins.caller.check(plugins.attachment, "/run/netns/web", RESULT)
    assert plugins.order() == ["CHECK first", "CHECK second", "CHECK third"]
    silent = replace(plugins.attachment, network=replace(plugins.network, check=False))
    plugins.caller.check(silent, "/run/netns/web", RESULT)
    old = replace(plugins.attachment, network=replace(plugins.network, version="0.3.1"))
    plugins.caller.check(old, "/run/netns/web", RESULT)
    assert len(plugins.calls()) == 3


def test_gc_names_what_is_still_there_and_all_are_asked(plugins: Plugins) -> None:
    plugins.fails("first", "GC", '{"code": 100, "msg": "not now"}')
    errors = plugins.caller.gc(plugins.network, "node1", [plugins.attachment])
    assert plugins.order() == ["GC first", "GC second", "GC third"] and len(errors) == 1
    valid = plugins.calls()[0][2]["cni.dev/valid-attachments"]
    assert valid == [{"containerID": "c0ffee", "ifname": "eth0"}]


def test_gc_and_status_are_not_called_before_1_1_0_nor_gc_where_the_list_disables_it(plugins: Plugins) -> None:
    old = replace(plugins.network, version="1.0.0")
    plugins.caller.status(old, "node1")
    plugins.caller.gc(old, "node1", [])
    plugins.caller.gc(replace(plugins.network, gc=False), "node1", [])
    assert plugins.calls() == []


def test_a_plugin_that_is_not_ready_is_told_by_status(plugins: Plugins) -> None:
    plugins.fails("second", "STATUS", '{"code": 50, "msg": "the daemon does not run"}')
    with pytest.raises(PluginError, match=r"second \(STATUS on node1\): the daemon does not run \(code 50\)"):
        plugins.caller.status(plugins.network, "node1")


def test_a_plugin_that_does_not_speak_the_lists_version_is_named_with_those_it_speaks(plugins: Plugins) -> None:
    plugins.caller.version(plugins.network)
    with pytest.raises(PluginError) as caught:
        plugins.caller.version(replace(plugins.network, version="0.4.0"))
    assert str(caught.value) == (
        "CNI plugin first does not speak 0.4.0, the conflist's cniVersion\n  hint: it speaks 1.0.0, 1.1.0"
    )


def test_a_program_that_cannot_be_started_is_the_plugins_failure(plugins: Plugins) -> None:
    (plugins.directory / "first").write_text("no program\n")
    with pytest.raises(PluginError, match=r"CNI plugin first \(ADD for Pod default/web\): cannot start"):
        plugins.caller.add(plugins.attachment, "/run/netns/web")
