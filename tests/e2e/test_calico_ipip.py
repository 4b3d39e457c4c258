"""Calico IPIP in running labs: every path, what is broken and named, what a killed testbed leaves, who may not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import machine
import pytest
from labs import TWO_NODES, Labs
from proving import shell

from emu.api.topology import Ranges
from emu.api.topologyrules import DEFAULT_RANGES
from emu.kernel import process, programs
from emu.report.text import trace_text
from emu.testbed.facade import Testbed
from tests.kernel import leaks

pytestmark = pytest.mark.root

FOLDERS = TWO_NODES.parent
NAME = "two-node-calico-ipip"
ebpf = pytest.mark.skipif(programs.has_module(), reason="the ipip module is loaded: nothing is realised by eBPF")


def verified(lab: Testbed) -> list[str]:
    assert [str(each) for each in lab.check()] == []
    return [trace_text(each, color=False) for each in lab.verify() if not each.ok]


@pytest.mark.parametrize("folder", [NAME, "two-node-calico-ipip-cloud", "two-racks-calico-ipip-cross-subnet"])
def test_every_path_is_as_predicted(testbed: Labs, folder: str) -> None:
    assert testbed(verified, topology=FOLDERS / folder) == []


def test_every_path_is_as_predicted_with_ipv6_beside_it(testbed: Labs) -> None:
    """IPv6 goes between the Nodes as it is: IPIP has none."""
    both = {name: (each[4], each[6]) for name, each in DEFAULT_RANGES.items()}
    dual = {"family": "ipv4-ipv6", "ranges": Ranges(**both)}  # type: ignore[arg-type]
    assert testbed(verified, topology=FOLDERS / NAME, **dual) == []


def test_every_path_is_as_predicted_with_legacy_iptables(testbed: Labs) -> None:
    assert testbed(verified, topology=FOLDERS / NAME, iptables="legacy") == []


@ebpf
@pytest.mark.parametrize(
    ("where", "command", "says", "drift"),
    [
        (
            "node1",
            "tc filter del dev tunl0 egress",
            "last seen at node1:tunl0",
            "node1: tc filter tunl0 egress: missing",
        ),
        (
            "node2",
            "tc filter del dev eth0 ingress",
            "last seen at node2:eth0",
            "node2: tc filter eth0 ingress: missing",
        ),
        ("node2", "ip link del tunl0", "last seen at node2:eth0", "node2: link tunl0: missing"),
    ],
)
def test_what_is_taken_from_the_tunnel_is_named_and_mended(
    testbed: Labs, where: str, command: str, says: str, drift: str
) -> None:
    def broken(lab: Testbed) -> tuple[str, list[str], int, bool]:
        shell(lab, where, command)
        result = lab.trace("client", "client2", proto="icmp")
        lab.check(repair=True)
        assert result.difference is not None
        named = [each for each in result.drift if each.startswith(drift)]
        return result.difference.what, named, len(lab.check()), lab.trace("client", "client2", proto="icmp").ok

    what, named, left, mended = testbed(broken, topology=FOLDERS / NAME)
    assert says in what and len(named) == 1, (what, named)
    assert (left, mended) == (0, True)


@ebpf
@machine.on_a_machine
def test_a_killed_testbed_leaves_no_program_no_map_and_no_device() -> None:
    before = leaks.snapshot()
    machine.emu("up", str(FOLDERS / NAME))
    assert len(leaks.snapshot().bpf - before.bpf) >= 2 * 3  # on each Node two programs and their map
    machine.kill(name=NAME)
    leaks.nothing_left(before)


@machine.on_a_machine
def test_a_testbed_that_is_taken_down_leaves_nothing_either() -> None:
    before = leaks.snapshot()
    machine.emu("up", str(FOLDERS / NAME))
    machine.emu("down")
    leaks.nothing_left(before)


@ebpf
def test_the_plan_is_a_script_that_makes_the_same_tunnel(tmp_path: Path) -> None:
    """But for the routes, which BIRD brings: `bird` runs for one Node at a time where all see the same /run."""
    script = tmp_path / "plan.sh"
    script.write_text(machine.emu("plan", str(FOLDERS / NAME)).stdout)
    route = "ip netns exec node{} ip route replace 10.244.{}.0/26 via 192.168.100.1{} dev tunl0 onlink"
    commands = (
        f"bash {script}",
        route.format(1, 2, 2),
        route.format(2, 1, 1),
        "ip netns exec default.client ping -c1 -W2 10.244.2.2",
    )

    def run() -> None:
        os.chdir(machine.ROOT)
        process.run(["sh", "-ec", "; ".join(commands)], timeout_s=60, env={**process.ENVIRONMENT, "HOME": "/root"})

    assert shutil.which("bpftool", path=process.PATH), "apt-get install bpftool"
    leaks.pretend_machine(run)
