"""A running cluster changes: endpoints, rules and names follow, and nothing else is touched."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from inside import (
    addresses,
    apply,
    cluster_ip,
    endpoints,
    is_gone,
    opened,
    out,
    pod,
    pods,
    recorded,
    run,
    wait_until,
)
from labs import Labs

from emu.api.objects import Service
from emu.errors import EmuError
from emu.names import pod_netns
from emu.netfilter import text
from emu.plan.model import Changes
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

WEB, NGINX = ("Deployment", "default", "web"), ("Deployment", "default", "nginx-hello")


def deployment(name: str, replicas: int = 1) -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: web, image: "nginxdemos/hello:plain-text"}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80}}]
"""


def scaled(lab: Testbed, name: str, replicas: int) -> None:
    """And everything has followed: the new Pods are ready, the superfluous ones gone."""
    app = "nginx" if name == "nginx-hello" else name
    lab.scale(("Deployment", "default", name), replicas)
    lab.wait_ready(8)
    wait_until(lambda: len(pods_there(lab, app)) == replicas, f"{replicas} Pods of {name}")


def pods_there(lab: Testbed, app: str) -> list[str]:
    """Those on their way out too."""
    objects = lab.store.snapshot().objects.values()
    return [each.metadata.name for each in objects if each.KIND == "Pod" and each.metadata.labels.get("app") == app]


def chains(changes: list[Changes]) -> set[str]:
    """Chains of any Node that were written, made or removed."""
    lines = [
        line
        for each in changes
        for netns in each.netns
        for old, new in netns.tables
        for line in text.delta(old, new).splitlines()
    ]
    return {found[1] for line in lines if (found := re.match(r"(?:-[A-Z] |:)([A-Z0-9-]+)", line))}


def test_nothing_happens_when_nothing_has_changed(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        with recorded(lab) as seen:
            assert not lab.reconcile()
            assert {each.word for each in lab.apply([lab.get(WEB), lab.get(NGINX)])} == {"unchanged"}
        assert not seen
        assert not lab.check()

    testbed(inside)


def test_scaling_a_deployment_touches_its_own_pod_and_chains_and_nothing_else(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        before = {each.metadata.name for each in pods(lab, "nginx")}
        with recorded(lab) as seen:
            scaled(lab, "nginx-hello", 2)
        (new,) = [each for each in pods(lab, "nginx") if each.metadata.name not in before]
        netns = pod_netns("default", new.metadata.name)
        assert {change.name for each in seen for change in each.netns} == {netns, "node1", "node2"}
        values = {
            (change.name, type(value).__name__)
            for each in seen
            for change in each.netns
            for value in (*change.added, *change.removed)
            if change.name != netns
        }
        assert values == {(new.spec.node_name, "Link")}  # the Node's end of the veth
        services = [name for name in chains(seen) if name.startswith("KUBE-SVC-")]
        assert len(services) == 1
        assert {name for name in chains(seen) if not name.startswith("KUBE-SEP-")} == set(services)
        assert not lab.check()

    testbed(inside)


def test_endpoints_rules_and_names_follow_an_apply_a_scale_and_a_delete(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        rules = "iptables-save -t nat | grep -c default/late || true"
        assert run(lab, "client", "curl -sS late").code == 6
        assert [each.word for each in apply(lab, deployment("late", 2))] == ["created", "created"]
        assert "Server address" in out(lab, "client", "curl -s late")
        assert int(out(lab, "node1", rules)) == int(out(lab, "node2", rules)) > 4
        scaled(lab, "late", 1)
        (left,) = endpoints(lab, "late")
        assert left in out(lab, "client", "curl -s late")
        lab.delete([("Deployment", "default", "late")])
        wait_until(lambda: not pods_there(lab, "late"), "the Pods are gone")
        assert endpoints(lab, "late") == []
        assert run(lab, "client", "curl -sS late").code == 7
        lab.delete([("Service", "default", "late")])
        assert run(lab, "client", "curl -sS late").code == 6
        assert out(lab, "node1", rules) == out(lab, "node2", rules) == "0\n"
        assert not lab.check()

    testbed(inside)


def test_two_applies_at_once_both_hold(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        names = [f"web-{number}" for number in range(6)]
        threads = [threading.Thread(target=apply, args=(lab, deployment(name)), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lab.wait_ready(8)
        urls = " ".join(names)
        assert out(lab, "client", f"curl -s {urls}").count("Server address") == len(names)
        assert len({cluster_ip(lab, name) for name in names}) == len(names)
        assert not lab.check()
        assert not lab.reconcile()

    testbed(inside)


def test_a_deleted_pod_gets_no_new_connection_though_it_is_still_ending(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, SLOW_TO_END)
        victim, other = pods(lab, "slow")
        lab.delete([("Pod", "default", victim.metadata.name)])
        assert pod(lab, victim.metadata.name).metadata.deletion_timestamp
        pages = out(lab, "client", "curl -s -H 'Connection: close' 'slow/?[1-30]'")
        assert victim.metadata.name not in pages
        assert pages.count(other.metadata.name) > 0
        assert out(lab, "client", f"curl -s {victim.status.pod_ip}:8080") == victim.metadata.name + "\n"  # still there

    testbed(inside)


SLOW_TO_END = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: slow}
spec:
  replicas: 2
  selector: {matchLabels: {app: slow}}
  template:
    metadata: {labels: {app: slow}}
    spec:
      containers:
        - name: web
          image: python
          command:
            - sh
            - -c
            - |
              trap 'echo ending' TERM
              cd /tmp
              hostname > index.html
              python3 -m http.server 8080 &
              while :; do wait; done
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: slow}
spec:
  selector: {app: slow}
  ports: [{port: 80, targetPort: 8080}]
"""


def test_a_udp_client_with_one_port_is_answered_after_its_pod_has_gone(testbed: Labs) -> None:
    """Its flow has a conntrack entry to the gone Pod, which every datagram would renew (kubernetes#126130)."""

    def inside(lab: Testbed) -> None:
        with opened(lab, "client", socket.SOCK_DGRAM) as sock:
            sock.connect((cluster_ip(lab, "web"), 8081))
            sock.send(b"hostname")
            first = sock.recv(100).decode()
            scaled(lab, "web", 1)
            if pods(lab, "web")[0].metadata.name == first:  # by its answer: the one that stays; make it go as well
                lab.delete([("Pod", "default", first)])
                wait_until(lambda: is_gone(lab, "Pod", first), "the Pod is gone")
                lab.wait_ready(8)
            sock.send(b"hostname")
            second = sock.recv(100).decode()
            assert second != first
            assert second == pods(lab, "web")[0].metadata.name

    testbed(inside)


@pytest.mark.parametrize("before", ["no Service", "no endpoints"])
def test_a_udp_client_that_was_there_first_is_answered_as_soon_as_somebody_is_there(testbed: Labs, before: str) -> None:
    def inside(lab: Testbed) -> None:
        with opened(lab, "client", socket.SOCK_DGRAM) as sock:
            if before == "no endpoints":
                apply(lab, EARLY.format("nobody"))
            sock.sendto(b"hostname", ("10.96.77.77", 8081))
            apply(lab, EARLY.format("web"))
            sock.sendto(b"hostname", ("10.96.77.77", 8081))
            assert sock.recv(100).decode() in pods_there(lab, "web")

    testbed(inside)


EARLY = """
apiVersion: v1
kind: Service
metadata: {{name: early}}
spec:
  clusterIP: 10.96.77.77
  selector: {{app: {}}}
  ports: [{{port: 8081, protocol: UDP}}]
"""


def test_a_tcp_connection_to_a_pod_that_stays_survives_a_scale_down(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        held: dict[str, socket.socket] = {}
        while len(held) < 2:
            sock = opened(lab, "client", socket.SOCK_STREAM)
            sock.connect((cluster_ip(lab, "web"), 80))
            held.setdefault(hostname(sock), sock)
        scaled(lab, "web", 1)
        (stays,) = pods(lab, "web")
        assert hostname(held[stays.metadata.name]) == stays.metadata.name
        for name in held.keys() - {stays.metadata.name}:
            with pytest.raises(OSError):
                assert hostname(held[name]), "the connection has been closed"

    testbed(inside)


def hostname(sock: socket.socket) -> str:
    """One more request on a connection."""
    sock.send(b"GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n")
    answer = sock.recv(4096)
    if not answer:
        raise ConnectionResetError
    return answer.partition(b"\r\n\r\n")[2].decode()


def test_a_pod_that_dies_is_mended(testbed: Labs) -> None:
    """The first process of its PID namespace is killed, and with it everything in the Pod."""

    def inside(lab: Testbed) -> None:
        handle = lab.host.pods.find("default", "client")
        assert handle
        os.kill(handle.pid, signal.SIGKILL)
        wait_until(lambda: pod(lab, "client").status.container_statuses[0].restart_count == 1, "restarted")
        lab.wait_ready(8)
        status = pod(lab, "client").status.container_statuses[0]
        assert status.last_state.terminated
        assert status.last_state.terminated.exit_code == 137
        assert out(lab, "client", "curl -sI nginx-svc").startswith("HTTP/1.1 200")
        assert not lab.check()

    testbed(inside)


def test_a_new_template_replaces_the_pods_and_the_service_answers_all_the_while(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, deployment("roll", 3))
        before, over, seen = pods_there(lab, "roll"), threading.Event(), Counter[str]()
        client = threading.Thread(target=connecting, args=(lab, (cluster_ip(lab, "roll"), 80), over, seen))
        client.start()
        apply(lab, deployment("roll", 3).replace("hello:plain-text", "hello"))
        wait_until(lambda: not set(before) & set(pods_there(lab, "roll")), "the old Pods are gone")
        over.set()
        client.join()
        assert set(seen) == {"answered"}
        assert len(pods(lab, "roll")) == 3
        assert "<html>" in out(lab, "client", "curl -s roll")

    testbed(inside)


def test_a_daemonset_has_a_pod_on_every_node(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, AGENT)
        assert sorted(each.spec.node_name for each in pods(lab, "agent")) == ["node1", "node2"]
        lab.delete([("DaemonSet", "default", "agent")])
        wait_until(lambda: not pods_there(lab, "agent"), "they are gone")
        assert not lab.check()

    testbed(inside)


AGENT = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: nginxdemos/hello}]}
"""


def test_a_deleted_pod_of_a_deployment_is_replaced(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        (old,) = pods(lab, "nginx")
        lab.delete([("Pod", "default", old.metadata.name)])
        lab.wait_ready(8)
        wait_until(lambda: is_gone(lab, "Pod", old.metadata.name), "the Pod is gone")
        (new,) = pods(lab, "nginx")
        assert new.metadata.name != old.metadata.name
        assert endpoints(lab, "nginx-svc") == [new.status.pod_ip]
        assert new.status.pod_ip in out(lab, "client", "curl -s nginx-svc")
        assert (
            "Cannot open network namespace"
            in run(lab, "node1", f"ip netns exec {pod_netns('default', old.metadata.name)} true").out
        )

    testbed(inside)


WRONG = """
apiVersion: v1
kind: Service
metadata: {{name: wrong}}
spec:
  clusterIP: "{}"
  ports: [{{port: {}}}]
"""


@pytest.mark.parametrize(("ip", "port"), [("10.96.0.10", 80), ("192.0.2.1", 80), ("", 65536)])
def test_a_wrong_apply_changes_nothing(testbed: Labs, ip: str, port: int) -> None:
    """An address that is taken, one out of range, a port that is none."""
    manifests = f"{deployment('good')}---{WRONG.format(ip, port)}"
    said = ip or str(port)

    def inside(lab: Testbed) -> None:
        version, plan = lab.store.snapshot().version, lab.plan
        with recorded(lab) as seen, pytest.raises(EmuError, match=re.escape(said)) as refused:
            apply(lab, manifests)
        assert "applied.yaml:2" in str(refused.value)
        assert not seen
        assert lab.store.snapshot().version == version
        assert lab.plan is plan
        assert is_gone(lab, "Deployment", "good")

    testbed(inside)


def test_a_namespace_takes_everything_in_it_along(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        everything = deployment("there").replace("metadata: {name: there}", "metadata: {name: there, namespace: other}")
        apply(lab, "{apiVersion: v1, kind: Namespace, metadata: {name: other}}\n---" + everything)
        assert "Server address" in out(lab, "client", "curl -s there.other")
        lab.delete([("Namespace", "", "other")])
        wait_until(lambda: is_gone(lab, "Namespace", "other", ""), "the namespace is gone")
        assert not [key for key in lab.store.snapshot().objects if key[1] == "other"]
        assert run(lab, "client", "curl -sS there.other").code == 6

    testbed(inside)


def test_every_connection_is_answered_or_refused_while_endpoints_come_and_go(testbed: Labs) -> None:
    """`nat` and `filter` change one after the other: a packet that met neither would be lost, with all of its flow."""

    def inside(lab: Testbed) -> None:
        service = lab.get(("Service", "default", "web"))
        assert isinstance(service, Service)
        nobody = replace(service, spec=replace(service.spec, selector={"app": "nobody"}))
        over, seen = threading.Event(), Counter[str]()
        client = threading.Thread(target=connecting, args=(lab, (cluster_ip(lab, "web"), 80), over, seen))
        out(lab, "node1", "sysctl -w net.ipv4.icmp_ratelimit=0")  # else one refusal a second, and silence after it
        client.start()
        for each in (nobody, service) * 8:
            lab.replace(each)
        over.set()
        client.join()
        assert set(seen) == {"answered", "refused"}

    testbed(inside)


def connecting(lab: Testbed, target: tuple[str, int], over: threading.Event, seen: Counter[str]) -> None:
    """One connection after the other; each may take as long as a SYN takes that is not lost."""
    while not over.wait(0.003):
        with opened(lab, "client", socket.SOCK_STREAM) as sock:
            sock.settimeout(0.9)
            try:
                sock.connect(target)
                seen["answered"] += 1
            except ConnectionRefusedError:
                seen["refused"] += 1
            except OSError as error:
                seen[str(error)] += 1


def test_a_scale_up_is_one_reconcile_for_all_its_pods(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        began = time.monotonic()
        scaled(lab, "web", 20)
        assert len(addresses(lab, "web")) == len(endpoints(lab, "web")) == 20
        assert time.monotonic() - began < 5
        assert not lab.check()

    testbed(inside)
