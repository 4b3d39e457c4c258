"""The floor that `bench.scale` compares with is one: it makes the very objects that the testbed makes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import planfloor, sandboxed, scale
from emu.kernel import process
from emu.names import FABRIC_NETNS
from emu.plan.model import Plan

pytestmark = pytest.mark.root

ASKED = ("ip -o address", "ip route show table all", "ip neigh", "bridge fdb", "ip rule")
KEYS = ("net.ipv4.ip_forward", "net.ipv6.conf.all.disable_ipv6")


@pytest.mark.parametrize("mode", ["flannel-vxlan", "calico-ipip", "cilium", "docker-swarm"])
def test_the_floor_makes_what_the_testbed_makes(mode: str, tmp_path: Path) -> None:
    plan = planfloor.bare(scale.planned(tmp_path, mode, 2, 10))
    ours, hand = (sandboxed.call(lambda make=make: made(make, plan)) for make in (planfloor.applied, planfloor.floor))
    assert {key: (ours[key], hand[key]) for key in ours if ours[key] != hand[key]} == {}
    assert any(each[0].startswith(("cali", "veth", "lxc")) for each in ours["node1 links"])


def made(make: Callable[[Plan], object], plan: Plan) -> dict[str, list[Any]]:
    make(plan)
    found: dict[str, list[Any]] = {}
    for name in (each for each in plan.netns if each != FABRIC_NETNS):
        enter = ["nsenter", f"--net=/run/netns/{name}", "--"]
        found[f"{name} links"] = links(process.run([*enter, "ip", "-j", "-d", "link"]).stdout)
        for command in (*ASKED, *(f"sysctl {key}" for key in KEYS)):
            lines = process.run([*enter, *command.split()]).stdout.splitlines()
            found[f"{name} {command}"] = sorted(
                re.sub(r"^\d+: | linkdown", "", line) for line in lines if not _passes(line)
            )
    return found


def links(told: str) -> list[tuple[object, ...]]:
    named = ("ifname", "mtu", "address", "master", "txqlen")
    return sorted(
        (*(str(link.get(key)) for key in named), link.get("linkinfo", {}).get("info_kind", ""), "UP" in link["flags"])
        for link in json.loads(told)
    )


def _passes(line: str) -> bool:
    """What the kernel does by itself, sooner or later: multicast listeners, neighbors it looks for, a bridge's own."""
    own = ("33:33:", "01:00:5e:", "ff00::", "STALE", "INCOMPLETE", "FAILED", "REACHABLE", "master")
    return any(word in line for word in own)
