"""Plain Docker, by version and with and without its userland proxy: every path as predicted, and who sees whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from inside import apply, out, run, wait_until
from labs import TWO_NODES, Labs

from emu.api.topology import Cni
from emu.report.text import trace_text
from emu.testbed.facade import Testbed
from emu.trace.model import TraceResult, Verdict

pytestmark = pytest.mark.root

ONE, TWO, SERVICES = (
    TWO_NODES.parent / name for name in ("one-host-docker", "two-hosts-docker", "two-hosts-docker-services")
)

UDP = """
apiVersion: v1
kind: Pod
metadata: {name: udp}
spec:
  nodeName: node1
  containers:
    - name: agnhost
      image: registry.k8s.io/e2e-test-images/agnhost:2.47
      args: [netexec, --http-port=8080, --udp-port=8081]
      ports: [{containerPort: 8081, hostPort: 8081, protocol: UDP}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: netshoot, image: nicolaka/netshoot, args: [sleep, infinity]}]}
"""


def docker(version: int, userland_proxy: bool = True) -> Cni:
    return Cni(mode="docker", options={"docker": version, "userland_proxy": userland_proxy})


def arrived(result: TraceResult) -> bool:
    return result.prediction.paths[0].forward.verdict is Verdict.DELIVERED and result.reply_text in (
        "connected",
        "echo reply",
    )


def all_as_predicted(lab: Testbed) -> tuple[TraceResult, ...]:
    results = lab.verify()
    assert all(each.ok for each in results), "\n".join(trace_text(r, color=False) for r in results if not r.ok)
    assert lab.check() == ()
    return results


@pytest.mark.parametrize(("version", "proxy"), [(27, True), (28, True), (27, False), (28, False)])
def test_across_hosts_published_ports_work_and_nothing_else(testbed: Labs, version: int, proxy: bool) -> None:
    def inside(lab: Testbed) -> None:
        results = {each.flow.label.partition(":")[0]: arrived(each) for each in all_as_predicted(lab)}
        assert {kind for kind, came in results.items() if not came} == {
            "Pod to Pod, other Node",
            "Pod to Pod, other Node, ping",
            "Node to Pod, other Node",
            "Pod to a Service, which nothing translates",
        }
        assert sum("published port" in kind for kind in results) == 5

    testbed(inside, topology=TWO, cni=docker(version, proxy))


@pytest.mark.parametrize("folder", [ONE, SERVICES], ids=lambda folder: folder.name)
def test_every_path_of_the_topology_is_as_predicted(testbed: Labs, folder: Path) -> None:
    testbed(lambda lab: len(all_as_predicted(lab)), topology=folder)


@pytest.mark.parametrize(
    ("proxy", "source", "address", "seen"),
    [
        (True, "node1", "192.168.100.11", "192.168.100.11"),  # DNAT in OUTPUT
        (True, "node1", "127.0.0.1", "172.17.0.1"),  # docker-proxy
        (True, "client", "192.168.100.11", "172.17.0.1"),
        (True, "web", "192.168.100.11", "172.17.0.1"),
        (False, "node1", "127.0.0.1", "172.17.0.1"),  # DNAT, masqueraded
        (False, "client", "192.168.100.11", "172.17.0.3"),
        (False, "web", "192.168.100.11", "172.17.0.1"),
    ],
)
def test_whom_a_container_sees_at_its_published_port(
    testbed: Labs, proxy: bool, source: str, address: str, seen: str
) -> None:
    def inside(lab: Testbed) -> None:
        assert "Server name: web" in out(lab, source, f"curl -s -m 3 {address}:8080")
        wait_until(lambda: lab.logs("default", "web").read_text(), what="nginx has logged")
        assert lab.logs("default", "web").read_text().split()[0] == seen

    testbed(inside, topology=ONE, cni=docker(28, proxy))


def test_the_userland_proxy_relays_udp_and_goes_with_its_container(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        asking = "python3 -c \"import socket; s = socket.socket(2, 2); s.settimeout(3); " \
            "s.sendto(b'hostname', ('127.0.0.1', 8081)); print(s.recv(99).decode())\""  # fmt: skip
        assert out(lab, "node1", asking).strip() == "udp"
        lab.delete([("Pod", "default", "udp")], grace_period_s=0)
        wait_until(lambda: run(lab, "node1", "pgrep python3").code == 1, what="docker-proxy has ended")

    testbed(inside, topology=ONE, manifests=UDP)


def test_the_lowest_address_is_given_again_and_its_new_owner_is_reached(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert "Server name: web" in out(lab, "client", "curl -s -m 3 172.17.0.2")
        lab.delete([("Pod", "default", "web")], grace_period_s=0)
        wait_until(lambda: lab.cluster and len(lab.cluster.pods) == 1, what="web has gone")
        apply(lab, (ONE / "manifests" / "containers.yaml").read_text().replace("name: web,", "name: new,"))
        assert lab.converge() == ()
        assert "Server name: new" in out(lab, "client", "curl -s -m 3 172.17.0.2")
        assert "Server name: new" in out(lab, "node1", "curl -s -m 3 127.0.0.1:8080")

    testbed(inside, topology=ONE)


def test_28_drops_in_raw_what_is_routed_to_a_container_and_27_by_the_policy(testbed: Labs) -> None:
    def dropped(table: str, what: str, lab: Testbed) -> None:
        out(lab, "node2", "ip route add 172.17.0.9/32 via 192.168.100.11")
        out(lab, "node2", "ip route add 172.17.0.3/32 via 192.168.100.11")
        assert run(lab, "node2", "ping -c1 -W1 172.17.0.3").code == 1
        assert what in out(lab, "node1", f"iptables -t {table} -nvL | grep -v ' 0  *0 '")

    testbed(lambda lab: dropped("raw", "DROP", lab), topology=TWO, cni=docker(28))
    testbed(lambda lab: dropped("filter", "Chain FORWARD (policy DROP 1 packets", lab), topology=TWO, cni=docker(27))
