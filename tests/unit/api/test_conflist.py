"""What of a conflist is refused before anything starts, and where it says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu import planners
from emu.api import load
from emu.api.topology import Topology
from emu.errors import InputError

GOOD = """{
  "cniVersion": "1.0.0",
  "name": "mynet",
  "plugins": [
    {"type": "one", "ipam": {"type": "addresses", "subnet": "{{.PodCIDR}}"}},
\t{"type": "two", "capabilities": {"portMappings": true}}
  ]
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    for name in ("one", "two", "addresses"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def loaded(folder: Path, conflist: str = GOOD, cni: str = "{conflist: net.conflist, binDir: bin}") -> Topology:
    (folder / "net.conflist").write_text(conflist)
    (folder / "topology.yaml").write_text(f"name: lab\nnodes: 2\ncni: {cni}\n")
    return load.topology(folder, planners.check)


def refusal(folder: Path, *arguments: str) -> str:
    with pytest.raises(InputError) as caught:
        loaded(folder, *arguments)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_conflist_is_the_mode_plugins_and_stands_in_the_topology_in_full(folder: Path) -> None:
    cni = loaded(folder).cni
    assert (cni.mode, cni.bin_dir) == ("plugins", (f"{folder}/bin",))
    assert json.loads(json.dumps(cni.conflist)) == json.loads(GOOD)


def test_the_list_may_stand_in_the_topology_itself(folder: Path) -> None:
    plugins = "{cniVersion: 1.1.0, name: here, plugins: [{type: one}]}"
    assert loaded(folder, GOOD, f"{{binDir: bin, conflist: {plugins}}}").cni.conflist["name"] == "here"
    bad = refusal(folder, GOOD, f"{{binDir: bin, conflist: {plugins.replace('name', 'nmae')}}}")
    assert bad == "topology.yaml:3: cni.conflist.nmae is no field of a conflist\n  hint: did you mean name?"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"mynet",', '"mynet"', "net.conflist:4: not JSON: Expecting ',' delimiter (column 3)"),
        ('"name"', '"nmae"', "net.conflist:3: nmae is no field of a conflist\n  hint: did you mean name?"),
        ('"1.0.0"', '"2.0.0"', "net.conflist:2: cniVersion is 2.0.0, must be one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        ('"mynet"', '"my net"', "net.conflist:3: name is my net, must match [a-zA-Z0-9][a-zA-Z0-9_.\\-]*"),
        ('"type": "two", ', "", "net.conflist:6: plugins[1].type is missing"),
        ('"two"', '"twoo"', "net.conflist:6: plugins[1].type is twoo, and no program of that name is in bin"),
        (
            '"addresses"',
            '"dhcp"',
            "net.conflist:5: plugins[0].ipam.type is dhcp, and no program of that name is in bin",
        ),
        (".PodCIDR", ".PodCidr", "net.conflist:5: plugins[0].ipam.subnet has {{.PodCidr}}, which stands for nothing"),
        (".PodCIDR", "index .PodCIDRRanges 1", "plugins[0].ipam.subnet asks for range 1, a Node has 1, counted from 0"),
        ("{\n  ", '{\n  "disableGC": 3, ', "net.conflist:2: disableGC is 3, must be true or false"),
    ],
)
def test_what_no_runtime_would_take_is_refused_at_its_line(folder: Path, old: str, new: str, said: str) -> None:
    assert said in refusal(folder, GOOD.replace(old, new, 1))


def test_the_configuration_of_one_plugin_is_not_a_list_of_them(folder: Path) -> None:
    said = refusal(folder, '{"cniVersion": "1.0.0", "name": "mynet", "type": "one"}')
    assert "type is no field of a conflist" in said and "put it into a list, plugins: […]" in said


@pytest.mark.parametrize(
    ("cni", "said"),
    [
        ("{conflist: none.conflist, binDir: bin}", "cni.conflist is none.conflist, which cannot be read: No such file"),
        ("{conflist: net.conflist, binDir: nowhere}", "cni.binDir[0] is nowhere, which is no folder"),
        ("plugins", "cni.conflist is missing: a file like /etc/cni/net.d/10-mynet.conflist"),
        ("{mode: docker, conflist: net.conflist, binDir: bin}", "cni.conflist is given, and mode docker calls no"),
        ("{conflist: net.conflist, binDir: bin, options: {between: none}}", "cni plugins: unknown option between"),
        (
            "{conflist: net.conflist, binDir: bin, options: {between_nodes: bgp}}",
            "cni.options.between_nodes is bgp, must be routes or none",
        ),
    ],
)  # fmt: skip
def test_what_the_topology_says_of_it_is_checked_too(folder: Path, cni: str, said: str) -> None:
    assert f"topology.yaml:3: {said}" in refusal(folder, GOOD, cni)
