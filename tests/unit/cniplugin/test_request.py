"""What the plugin refuses, with the code and the words that a runtime is told."""

from __future__ import annotations

import json

import pytest

from emu.api.conflist import VERSIONS
from emu.cniplugin import main

CONFIG = {"cniVersion": "1.0.0", "name": "mynet", "type": "kube-emu-cni", "mode": "bridge", "ipam": {"type": "x"}}
ADD = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a", "CNI_NETNS": "/run/netns/a", "CNI_IFNAME": "eth0"}


def answer(environment: dict[str, str], text: str) -> dict[str, object]:
    said: list[str] = []
    code = main.call(environment, text, said.append)
    return {**json.loads(said[0]), "exit": code} if said else {"exit": code}


def test_it_speaks_every_version_that_conflists_may_have() -> None:
    assert answer({"CNI_COMMAND": "VERSION"}, "") == {
        "cniVersion": "1.1.0", "supportedVersions": list(VERSIONS), "exit": 0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"cniVersion": "0.2.0"}, 1, "cniVersion is 0.2.0, must be one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        ({"mtuu": 1400}, 2, "mtuu is no field of kube-emu-cni"),
        ({"mode": "vxlan"}, 7, "mode is vxlan, must be one of bridge, calico"),
        ({"ipam": {}}, 7, "ipam.type is missing: the plugin that gives addresses, as host-local"),
        ({"mtu": 20}, 7, "mtu is 20, must be 68-65535"),
        ({"podNetworks": "10.0.0.0/8"}, 7, "podNetworks is 10.0.0.0/8, must be a list of ranges"),
    ],
)
def test_a_wrong_configuration_is_refused_by_its_field(changes: dict[str, object], code: int, said: str) -> None:
    found = answer(ADD, json.dumps({**CONFIG, **changes}))
    assert (found["exit"], found["code"], found["msg"]) == (1, code, said)


def test_an_error_is_told_in_the_version_of_the_configuration() -> None:
    assert answer(ADD, json.dumps({**CONFIG, "cniVersion": "0.4.0", "mtu": 1}))["cniVersion"] == "0.4.0"
    assert (answer(ADD, "{")["cniVersion"], answer(ADD, "{")["code"]) == ("1.1.0", 6)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "CNI_COMMAND is \"\", must be one of ADD, CHECK, DEL, GC, STATUS, VERSION"),
        ({"CNI_COMMAND": "ADD", "CNI_IFNAME": "eth0"}, "ADD needs CNI_CONTAINERID, CNI_NETNS"),
        ({"CNI_COMMAND": "DEL", "CNI_IFNAME": "eth0"}, "DEL needs CNI_CONTAINERID"),
        ({"CNI_COMMAND": "GC"}, "GC needs CNI_PATH"),
        ({**ADD, "CNI_IFNAME": "net1"}, "CNI_IFNAME is net1, must be eth0: the built-in modes know no other"),
    ],
)  # fmt: skip
def test_a_variable_that_is_missing_or_wrong_is_named(environment: dict[str, str], said: str) -> None:
    found = answer(environment, json.dumps(CONFIG))
    assert (found["code"], found["msg"]) == (4, said)


def test_a_plugin_that_gives_addresses_and_is_not_there_is_told_by_status() -> None:
    found = answer({"CNI_COMMAND": "STATUS", "CNI_PATH": "/nowhere"}, json.dumps(CONFIG))
    assert (found["exit"], found["msg"]) == (1, "CNI plugin x is not in /nowhere")
