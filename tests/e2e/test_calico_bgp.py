"""Routes that BGP brings: through the life of a cluster, when a daemon ends, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import machine
import pytest
from inside import out, pods, run, scaled, wait_until
from labs import TWO_NODES, Labs

from emu.api.objects import Node
from emu.api.topology import Cni, NodeEntry
from emu.report.text import summary
from emu.testbed.facade import Testbed
from emu.trace.model import Verdict
from tests.kernel import leaks

pytestmark = pytest.mark.root

BGP = TWO_NODES.parent / "two-node-calico-bgp"
THREE = tuple(NodeEntry(name=f"node{number}") for number in (1, 2, 3))


def by_bird(testbed: Testbed, node: str) -> list[str]:
    return [line.strip() for line in out(testbed, node, "ip route show proto bird").splitlines()]


def condition(testbed: Testbed, node: str) -> tuple[str, str, str]:
    found = testbed.get((Node.KIND, "", node))
    assert isinstance(found, Node)
    (each,) = (each for each in found.status.conditions if each.type == "NetworkUnavailable")
    return each.status, each.reason, each.message


@pytest.mark.parametrize("family", ["ipv4", "ipv4-ipv6"])
def test_three_nodes_are_up_when_every_route_is_there_and_every_path_is_as_predicted(
    testbed: Labs, family: str
) -> None:
    def inside(lab: Testbed) -> None:
        assert by_bird(lab, "node3") == [
            "10.244.1.0/26 via 192.168.100.11 dev eth0",
            "10.244.2.0/26 via 192.168.100.12 dev eth0",
            "blackhole 10.244.3.0/26",
        ]
        assert lab.check() == ()
        results = lab.verify()
        assert all(each.ok for each in results), summary(results, color=False)

    ranges = {} if family == "ipv4" else {"family": family, "ranges": _dual()}
    testbed(inside, topology=BGP, nodes=THREE, **ranges)


def _dual() -> object:
    from emu.api.topology import Ranges
    from emu.api.topologyrules import DEFAULT_RANGES

    both = {name: (each[4], each[6]) for name, each in DEFAULT_RANGES.items()}
    return Ranges(**both)


def test_a_block_that_a_node_takes_is_told_before_the_next_trace(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        scaled(lab, "web", 24)
        newest = next(pod for pod in pods(lab, "web") if pod.status.pod_ip.startswith("10.244.2.") and _late(pod))
        result = lab.trace("client", newest.metadata.name)
        assert result.ok and result.observed.reply
        assert "10.244.2.8/29 via 192.168.100.12 dev eth0" in by_bird(lab, "node1")
        assert lab.check() == ()

    def _late(pod: object) -> bool:
        return int(pod.status.pod_ip.rpartition(".")[2]) >= 8  # type: ignore[attr-defined]

    testbed(inside, topology=BGP, cni=Cni(mode="calico-bgp", options={"block_size": 29}))


def test_a_daemon_that_ends_is_seen_and_its_routes_go_and_come_back_with_it(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        wait_until(lambda: condition(lab, "node2")[0] == "False", "node2's daemons run")
        run(lab, "node2", "pkill -KILL -x bird")
        wait_until(lambda: condition(lab, "node2")[0] == "True", "the end of node2's daemon is told")
        assert condition(lab, "node2")[1:] == ("DaemonEnded", "bird: killed by SIGKILL")
        wait_until(lambda: by_bird(lab, "node1") == ["blackhole 10.244.1.0/26"], "node1 has withdrawn the route")
        assert by_bird(lab, "node2") == ["10.244.1.0/26 via 192.168.100.11 dev eth0", "blackhole 10.244.2.0/26"]
        result = lab.trace("client", "client2")
        assert not result.ok and result.observed.forward.verdict is Verdict.DROPPED
        assert "node2: daemon bird: wanted bird -f -c /run/bird/bird.conf, got not running" in result.drift
        lab.check(repair=True)
        assert lab.check() == ()
        assert lab.trace("client", "client2").ok

    testbed(inside, topology=BGP)


def test_a_route_that_somebody_takes_away_bird_brings_again(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        out(lab, "node1", "ip route del 10.244.2.0/26")
        assert [str(each) for each in lab.check(repair=True)] == [
            "node1: route 10.244.2.0/26 (by bird): missing: 10.244.2.0/26 via 192.168.100.12 dev eth0 proto bird"
        ]
        assert lab.check() == ()

    testbed(inside, topology=BGP)


def test_each_node_has_its_own_daemons_files_and_processes(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert [out(lab, node, "hostname; pgrep -cx bird") for node in ("node1", "node2")] == [
            "node1\n1\n",
            "node2\n1\n",
        ]
        assert "router id 192.168.100.12;" in out(lab, "node2", "cat /run/bird/bird.conf")
        assert out(lab, "client", "pgrep -cx bird; true") == "0\n"
        assert not Path("/run/bird").exists()

    testbed(inside, topology=BGP)


@machine.on_a_machine
def test_a_testbed_that_is_killed_leaves_no_daemon() -> None:
    before = leaks.snapshot()
    machine.emu("up", str(BGP))
    os.kill(machine.pid("two-node-calico-bgp"), signal.SIGKILL)
    leaks.nothing_left(before)
