"""Plan and kernel agree, whatever was done to the cluster by way of the testbed."""

from __future__ import annotations

from typing import Any

import pytest
from inside import apply, pods, wait_until
from proving import inside, shell

from emu.api.objects import Deployment, Pod, Service
from emu.errors import KernelError
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root
MORE = """
apiVersion: v1
kind: Pod
metadata: {name: more, labels: {app: more}}
spec:
  containers: [{name: a, image: registry.k8s.io/e2e-test-images/agnhost, args: [netexec]}]
---
apiVersion: v1
kind: Service
metadata: {name: more}
spec:
  selector: {app: more}
  sessionAffinity: ClientIP
  ports: [{port: 80, targetPort: 8080}]
"""
SHAPES: list[dict[str, Any]] = [
    {"nodes": 1},
    {"nodes": 3},
    {"nodes": 2, "iptables": "legacy"},
    {"nodes": 2, "family": "ipv4-ipv6"},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(map(str, shape.values())))
def test_nothing_drifts_when_the_cluster_comes_up_scales_grows_and_shrinks(shape: dict[str, Any]) -> None:
    def run(lab: Testbed) -> dict[str, list[str]]:
        def drift() -> list[str]:
            return [str(each) for each in lab.check()]

        found = {"fresh": drift()}
        lab.scale((Deployment.KIND, "default", "web"), 5)
        lab.wait_ready(8)
        found["scaled up"] = drift()
        apply(lab, MORE)
        found["applied"] = drift()
        lab.scale((Deployment.KIND, "default", "web"), 0)
        wait_until(lambda: not pods(lab, "web"), "no Pod is left")
        found["scaled to nothing"] = drift()
        lab.delete([(Service.KIND, "default", "more"), (Pod.KIND, "default", "more")], 0)
        wait_until(lambda: not pods(lab, "more"), "the Pod is gone")
        found["deleted"] = drift()
        lab.trace("client", "nginx-svc")
        found["traced"] = drift()
        return {step: lines for step, lines in found.items() if lines}

    assert inside(run, **shape) == {}


def test_check_alone_mends_nothing_and_repair_tells_what_it_mended() -> None:
    def run(lab: Testbed) -> list[list[str]]:
        shell(lab, "node1", "ip route del 10.244.2.0/24; sysctl -qw net.ipv4.ip_forward=0; iptables -t nat -F")
        return [[each.what for each in lab.check(repair=repair)] for repair in (False, False, True, False)]

    first, again, mended, after = inside(run)
    assert first == again == mended != []
    assert {"route 10.244.2.0/24", "sysctl net.ipv4.ip_forward"} < set(mended)
    assert "iptables -t nat, chain KUBE-SERVICES" in mended
    assert after == []


def test_everything_broken_at_once_is_mended_at_once() -> None:
    def run(lab: Testbed) -> tuple[int, list[str], bool]:
        for node in ("node1", "node2"):
            shell(
                lab, node, "ip link del flannel.1; ip link del cni0; ip link set eth0 down; ip route flush table main"
            )
            shell(lab, node, "iptables -F; iptables -t nat -F; iptables -t nat -X; iptables -X")
        found = len(lab.check(repair=True))
        return found, [str(each) for each in lab.check()], lab.trace("client", "nginx-svc").ok

    found, left, traced = inside(run)
    assert found > 4
    assert left == []
    assert traced


def test_a_reconcile_after_a_breakage_does_not_fail_because_of_it() -> None:
    """What somebody took away cannot be taken away again."""

    def run(lab: Testbed) -> list[str]:
        netns = lab.plan and next(name for name in lab.plan.netns if ".web-" in name)
        assert netns
        shell(lab, netns, "ip link del eth0")
        try:
            lab.scale((Deployment.KIND, "default", "web"), 0)
        except KernelError as error:
            return [str(error)]
        wait_until(lambda: lab.plan and netns not in lab.plan.netns, "the Pod is gone")
        return [str(each) for each in lab.check()]

    assert inside(run) == []
