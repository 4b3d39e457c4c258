"""The built-in modes as a CNI plugin, called as a runtime calls one, in namespaces of the test's own. Addresses are
those of the CNI project's host-local."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from emu.api.conflist import DIRECTORIES
from emu.cniplugin import main
from emu.kernel import netns, process
from emu.kernel.lab import loopback_up

pytestmark = pytest.mark.root

CONFIG = {"cniVersion": "1.0.0", "name": "mynet", "type": "kube-emu-cni", "mtu": 1400}
IPAM = {"type": "host-local", "dataDir": "/run/networks", "ranges": [[{"subnet": "10.1.0.0/24"}]]}
Sandbox = Callable[[Callable[[], object]], Any]
each_mode = pytest.mark.parametrize("mode", ["bridge", "calico"])


@pytest.fixture(autouse=True)
def _has_host_local() -> None:
    if not any(Path(each, "host-local").exists() for each in DIRECTORIES):
        pytest.skip("needs containernetworking-plugins")


def call(command: str, pod: str, mode: str, **config: object) -> tuple[int, dict[str, Any]]:
    """Exit status and answer. The Pod's id is its name; `pod` "" has no namespace any more."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod or "gone",
        "CNI_NETNS": f"/run/netns/{pod}" if pod else "",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": ":".join(DIRECTORIES),
        "PATH": process.PATH,
    }
    said: list[str] = []
    text = json.dumps({**CONFIG, "mode": mode, "ipam": IPAM, **config})
    code = main.call(environment, text, said.append)
    return code, json.loads(said[0]) if said else {}


def pods(*names: str) -> None:
    """And a default route here: without one nobody is answered for 169.254.1.1."""
    for name in names:
        netns.create(name)
    loopback_up()
    ip("link add wan0 type veth peer name wan1")
    ip("link set wan0 up")
    ip("link set wan1 up")
    ip("address add 192.0.2.1/24 dev wan0")
    ip("route add default via 192.0.2.9")


def ip(command: str, pod: str = "") -> str:
    where = ["-n", pod] if pod else []
    return process.run(["ip", *where, *command.split()]).stdout


def address(answer: dict[str, Any]) -> str:
    return answer["ips"][0]["address"].partition("/")[0]


@each_mode
def test_two_pods_reach_each_other_with_the_addresses_they_were_given(sandbox: Sandbox, mode: str) -> None:
    def inside() -> tuple[str, ...]:
        pods("a", "b")
        (_, a), (_, b) = call("ADD", "a", mode), call("ADD", "b", mode)
        ping = process.run(["ip", "netns", "exec", "a", "ping", "-c1", "-W2", address(b)]).stdout
        assert "mtu 1400" in ip("link show eth0", "a") and a["interfaces"][-1]["sandbox"] == "/run/netns/a"
        return a["ips"][0]["address"], a["ips"][0]["gateway"], next(w for w in ping.split() if w.startswith("ttl"))

    wanted = {"bridge": ("10.1.0.2/24", "10.1.0.1", "ttl=64"), "calico": ("10.1.0.2/32", "169.254.1.1", "ttl=63")}
    assert sandbox(inside) == wanted[mode]


@each_mode
def test_what_add_says_is_what_the_kernel_has(sandbox: Sandbox, mode: str) -> None:
    def inside() -> None:
        pods("a")
        _, answer = call("ADD", "a", mode)
        for interface in answer["interfaces"]:
            where = "a" if "sandbox" in interface else ""
            assert interface["mac"] in ip(f"link show {interface['name']}", where)
        assert answer["ips"][0]["address"] in ip("address show eth0", "a")
        routes = ip("route show", "a")
        assert all(
            each["dst"].replace("0.0.0.0/0", "default").removesuffix("/32") in routes for each in answer["routes"]
        )

    sandbox(inside)


@each_mode
def test_del_takes_away_link_and_address_and_may_be_called_again(sandbox: Sandbox, mode: str) -> None:
    def inside() -> None:
        pods("a", "b")
        call("ADD", "a", mode)
        _, b = call("ADD", "b", mode)
        assert [call("DEL", "a", mode) for _ in range(2)] == [(0, {}), (0, {})]
        assert "eth0" not in ip("link show", "a")
        assert [each for each in os.listdir("/run/networks/mynet") if each[0].isdigit()] == [address(b)]
        assert call("CHECK", "b", mode, prevResult=b)[0] == 0
        assert call("DEL", "", mode) == (0, {})

    sandbox(inside)


@each_mode
def test_check_finds_what_is_missing(sandbox: Sandbox, mode: str) -> None:
    def inside() -> tuple[int, str]:
        pods("a")
        _, answer = call("ADD", "a", mode)
        assert call("CHECK", "a", mode, prevResult=answer) == (0, {})
        ip("route del default", "a")
        code, error = call("CHECK", "a", mode, prevResult=answer)
        assert code == 1
        return error["code"], error["msg"]

    assert sandbox(inside) == (102, "in /run/netns/a: route 0.0.0.0/0")


def test_pods_that_are_joined_at_once_are_all_joined(sandbox: Sandbox) -> None:
    """Each by a process of its own, as runtimes do."""

    def inside() -> list[int]:
        names = [f"pod{number}" for number in range(5)]
        pods(*names)
        with ProcessPoolExecutor(len(names), mp_context=get_context("fork")) as pool:
            calls = [pool.submit(call, "ADD", name, "bridge") for name in names]
            return [each.result()[0] for each in calls]

    assert sandbox(inside) == [0] * 5


def test_a_second_add_is_refused_and_harms_nothing(sandbox: Sandbox) -> None:
    def inside() -> None:
        pods("a")
        _, first = call("ADD", "a", "bridge")
        code, error = call("ADD", "a", "bridge")
        assert code == 1 and "duplicate allocation is not allowed" in error["msg"]
        assert call("CHECK", "a", "bridge", prevResult=first) == (0, {})

    sandbox(inside)


def test_a_failed_add_gives_the_address_back(sandbox: Sandbox) -> None:
    def inside() -> tuple[int, str, list[str]]:
        pods("a")
        other = {**IPAM, "ranges": [[{"subnet": "10.1.0.0/24", "gateway": "10.1.0.200"}]]}
        _, error = call("ADD", "a", "bridge", ipam=other)
        held = [each for each in os.listdir("/run/networks/mynet") if each[0].isdigit()]
        return error["code"], error["msg"], held

    assert sandbox(inside) == (7, "the gateway is 10.1.0.200, must be 10.1.0.1, the first of 10.1.0.0/24", [])


def test_no_name_is_left_in_the_machines_list_of_namespaces(sandbox: Sandbox) -> None:
    def inside() -> list[str]:
        pods("a")
        call("ADD", "a", "bridge")
        return os.listdir("/run/netns")

    assert sandbox(inside) == ["a"]
