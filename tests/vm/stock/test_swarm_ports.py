"""A Swarm's routing mesh by real IPVS: which host's port leads where, what is told when something of it is broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from inside import apply, out, run, wait_until
from labs import Labs
from proving import shell
from stock import TOPOLOGIES, WITHOUT_NF_TABLES, alone, modules

from emu.kernel import process
from emu.testbed import facade

pytestmark = [pytest.mark.root, alone]

PORTS = TOPOLOGIES / "three-hosts-docker-swarm-ports"
ALSO = """
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {kube-emu.io/publish: "8080:80, 9090:80, 7070:7"}}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, annotations: {kube-emu.io/publish: "9090:8081/udp"}}
spec: {selector: {app: echo}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  nodeName: node1
  containers:
    - name: netexec
      image: registry.k8s.io/e2e-test-images/agnhost:2.40
      args: [netexec, --udp-port=8081]
      ports: [{containerPort: 8081, protocol: UDP}]
"""
BY_UDP = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(3)
    s.connect(("192.168.100.12", 9090))
    s.send(b"hostname")
    print(s.recv(100).decode())
"""


def drifts(lab: facade.Testbed, repair: bool = False) -> list[str]:
    return [str(each) for each in lab.check(repair=repair)]


def answered(lab: facade.Testbed, url: str, times: int = 4) -> list[str]:
    """By node3, which has no container of the service."""
    asked = f"for i in $(seq {times}); do curl -s -m 2 {url} | grep name; done"
    return sorted(line.split()[-1] for line in out(lab, "node/node3", asked).splitlines())


def test_the_experiment_holds_on_a_kernel_with_ipvs(tmp_path: Path) -> None:
    before = modules()
    topology = tmp_path / "ports"
    shutil.copytree(PORTS, topology)
    with (topology / "topology.yaml").open("a") as file:
        file.writelines(f"{key}: {value}\n" for key, value in WITHOUT_NF_TABLES.items())
    process.run([".venv/bin/emu", "run", str(topology / "experiments" / "a-port-of-every-host.yaml")], timeout_s=120)
    assert modules() == before


def test_what_breaks_the_mesh_is_told_and_ports_come_and_go_as_it_runs(testbed: Labs) -> None:
    def inside(lab: facade.Testbed) -> None:
        assert lab.converge() == ()
        broken(lab)
        with_more_ports_as_it_runs(lab)

    testbed(inside, topology=PORTS, **WITHOUT_NF_TABLES)


def broken(lab: facade.Testbed) -> None:
    """Behind the testbed's back. Without REDIRECT the packet comes to a port of the task that lets nothing in; without
    the mark it is the sandbox's own, which listens to nobody."""
    for task in ("web1", "web2"):
        shell(lab, f"default.{task}", "iptables-legacy -t nat -F PREROUTING")
    result = lab.trace("node/node3", "node1:8080")
    assert not result.ok and result.difference is not None and result.reply_text == "no answer"
    assert result.observed.forward.hops[-1].point.netns in ("default.web1", "default.web2")
    shell(lab, "node1_ingress_sbox", "iptables-legacy -t mangle -F PREROUTING")
    assert run(lab, "node/node3", "curl -s -m 2 192.168.100.11:8080").code == 7
    told = sorted(drifts(lab, repair=True))
    assert [each.split(":")[0] for each in told] == ["default.web1", "default.web2", "node1_ingress_sbox"]
    assert "--dport 8080 -j REDIRECT --to-ports 80" in told[0] and "--dport 8080 -j MARK --set-xmark 0x167" in told[2]


def with_more_ports_as_it_runs(lab: facade.Testbed) -> None:
    """A number of UDP is another Service's; a port that no program serves is the container's to refuse; without a task
    there is no rule, and without the annotation no link."""
    apply(lab, ALSO)
    assert drifts(lab) == [] and answered(lab, "192.168.100.11:9090") == ["web1", "web1", "web2", "web2"]
    assert out(lab, "node/node3", ["python3", "-c", BY_UDP]).strip() == "echo"
    assert run(lab, "node/node3", "curl -s -m 2 192.168.100.11:7070").code == 7
    apply(lab, ALSO.replace(', annotations: {kube-emu.io/publish: "8080:80, 9090:80, 7070:7"}', ""))
    assert run(lab, "node/node3", "curl -s -m 2 192.168.100.11:8080").code == 7
    assert "10.0.0." not in out(lab, "web1", "ip -brief address")
    apply(lab, (PORTS / "manifests" / "services.yaml").read_text())
    wait_until(lambda: answered(lab, "192.168.100.12:8080", 2) == ["web1", "web2"], what="the port is open again")
    assert drifts(lab) == []
