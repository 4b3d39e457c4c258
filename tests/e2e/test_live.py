"""A running cluster changes: endpoints, rules and names follow, and nothing else is touched."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Sequence

import pytest
from inside import (
    addresses,
    apply,
    cluster_ip,
    deployment,
    endpoints,
    is_gone,
    opened,
    out,
    pod,
    pods,
    pods_there,
    recorded,
    run,
    scaled,
    wait_until,
)
from labs import Labs

from emu.api.objects import Service
from emu.api.topology import Dns
from emu.errors import EmuError
from emu.names import pod_netns
from emu.netfilter import text
from emu.plan.model import Changes
from emu.store import Event
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

WEB, NGINX = ("Deployment", "default", "web"), ("Deployment", "default", "nginx-hello")


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


ALONE = """
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  nodeName: node2
  containers: [{name: netshoot, image: nicolaka/netshoot, args: [sleep, infinity]}]
"""


def test_a_node_that_loses_its_last_pod_and_gets_one_again_is_as_planned(testbed: Labs) -> None:
    """The kernel changes the MTU of its bridge meanwhile."""

    def inside(lab: Testbed) -> list[tuple[str, object]]:
        def seen() -> tuple[str, object]:
            return out(lab, "node2", "ip link show cni0 | grep -o 'mtu [0-9]*'").strip(), lab.check()

        found = [seen()]
        lab.delete([("Pod", "default", "alone")], 0)
        wait_until(lambda: is_gone(lab, "Pod", "alone"), "the Pod is gone")
        found.append(seen())
        apply(lab, ALONE)
        return [*found, seen()]

    assert testbed(inside, manifests=ALONE, dns=Dns(replicas=1)) == [
        ("mtu 1450", ()),
        ("mtu 1500", ()),
        ("mtu 1450", ()),
    ]


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


def test_what_is_stored_is_true_already(testbed: Labs) -> None:
    """Whoever is told of a Service finds it in rules and names."""

    def inside(lab: Testbed) -> None:
        seen: list[str] = []

        def told(events: Sequence[Event]) -> None:
            if any(isinstance(each.object, Service) and each.object.metadata.name == "late" for each in events):
                seen.append(out(lab, "client", "dig +short late.default.svc.cluster.local"))
                seen.append(str(run(lab, "client", "curl -s late").code))

        lab.store.subscribe(told)
        apply(lab, deployment("late", 0))
        assert seen == [f"{cluster_ip(lab, 'late')}\n", "7"]

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


def test_the_first_packet_to_a_new_pod_arrives(testbed: Labs) -> None:
    """A packet lost while the kernel brings the link up is sent again after a second. It was one Pod in ten."""

    def inside(lab: Testbed) -> None:
        for number in range(20):
            apply(lab, NEW.format(number))
            with opened(lab, "client", socket.SOCK_STREAM) as sock:
                sock.settimeout(0.9)
                with pytest.raises(ConnectionRefusedError):  # by the Pod: nothing listens there
                    sock.connect((pod(lab, f"new-{number}").status.pod_ip, 9))

    testbed(inside)


NEW = """
apiVersion: v1
kind: Pod
metadata: {{name: new-{}}}
spec: {{nodeName: node2, containers: [{{name: pause, image: registry.k8s.io/pause}}]}}
"""


def test_a_scale_up_is_one_reconcile_for_all_its_pods(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        began = time.monotonic()
        scaled(lab, "web", 20)
        assert len(addresses(lab, "web")) == len(endpoints(lab, "web")) == 20
        assert time.monotonic() - began < 5
        assert not lab.check()

    testbed(inside)
