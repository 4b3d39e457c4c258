"""The planned Flannel network in a kernel: packets get through, and what is there is what was planned."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from emu import planners
from emu.api.topology import Cni
from emu.kernel.apply import Kernel
from emu.plan.diff import diff
from emu.plan.drift import drift

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "planners"))
from clusters import cluster

pytestmark = pytest.mark.root
Sandbox = Callable[[Callable[[], object]], object]


def ping(netns: str, address: object) -> bool:
    argv = ["nsenter", f"--net=/run/netns/{netns}", "ping", "-c1", "-W3", str(address)]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("mode", ["flannel-vxlan", "flannel-host-gw"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6", "ipv4-ipv6"])
def test_every_pod_reaches_every_pod_and_nothing_drifts(sandbox: Sandbox, family: str, mode: str) -> None:
    base = cluster(nodes=2, pods=2, family=family)
    base = replace(base, topology=replace(base.topology, cni=Cni(mode=mode)))
    plan = planners.build(base)

    def run() -> object:
        kernel = Kernel("lab")
        kernel.apply(diff(None, plan), plan)
        lost = [
            (source.name, str(address))
            for source in base.pods
            for target in base.pods
            for address in target.addresses
            if not ping(f"default.{source.name}", address)
        ]
        drifts = [str(each) for netns in plan.netns.values() for each in drift(netns, kernel.read(netns))]
        return lost, drifts

    assert sandbox(run) == ([], [])


def test_a_node_reaches_the_pods_of_both_nodes(sandbox: Sandbox) -> None:
    base = cluster(nodes=2, pods=1)
    plan = planners.build(base)

    def run() -> object:
        Kernel("lab").apply(diff(None, plan), plan)
        return [ping("node1", pod.addresses[0]) for pod in base.pods]

    assert sandbox(run) == [True, True]
