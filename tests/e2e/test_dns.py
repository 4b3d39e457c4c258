"""Cluster DNS as programs in Pods meet it: by the C library and by dig, over the kernel's own NAT."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from inside import addresses, apply, cluster_ip, endpoints, out, pod, run, wait_until
from labs import Labs

from emu.api.objects import ContainerStatus
from emu.api.topology import Dns
from emu.apiserver.tables.pods import status as pod_status
from emu.capture.decode import decode
from emu.capture.points import points
from emu.capture.recorder import Recorder, opener
from emu.dnsserver import wire
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

UDP_PAYLOAD = 14 + 20 + 8  # bytes before it, of Ethernet, IPv4 and UDP
SEARCHED = ("default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.")

NGINX_OF_ITS_OWN_NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: nginx}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx, namespace: nginx}
spec:
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      containers: [{name: nginx, image: "nginxdemos/hello:plain-text"}]
---
apiVersion: v1
kind: Service
metadata: {name: nginx, namespace: nginx}
spec:
  selector: {app: nginx}
  ports: [{port: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: nginx-client, namespace: nginx}
spec:
  containers: [{name: netshoot, image: nicolaka/netshoot, args: [sleep, infinity]}]
"""

NAMED_PORTS = """
apiVersion: v1
kind: Pod
metadata: {name: db-0, labels: {app: db}}
spec:
  hostname: db-0
  subdomain: db
  containers: [{name: db, image: registry.k8s.io/e2e-test-images/agnhost, args: [netexec, --http-port=5432]}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: sql, port: 5432}]
"""


UPSTREAM = """
apiVersion: v1
kind: Pod
metadata: {name: upstream, annotations: {kube-emu.io/ip: 10.244.2.53}}
spec:
  nodeName: node2
  containers:
    - name: server
      image: python
      command:
        - python3
        - -c
        - |
          import socket
          server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
          server.bind(("", 53))
          while True:
              question, client = server.recvfrom(512)
              end = question.index(0, 12) + 5
              header = question[:2] + bytes.fromhex("858000010001") + bytes(4)
              record = bytes.fromhex("c00c00010001000000050004") + bytes([198, 51, 100, 7])
              server.sendto(header + question[12:end] + record, client)
      readinessProbe: {exec: {command: [sh, -c, "ss -Hlun sport = :53 | grep -q ."]}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: netshoot, image: nicolaka/netshoot, args: [sleep, infinity]}]
"""


def both(*names: str) -> list[str]:
    return [f"{kind} {name}" for name in names for kind in ("A", "AAAA")]


def dig(lab: Testbed, question: str, where: str = "client") -> list[str]:
    return out(lab, where, f"dig +short {question}").split("\n")[:-1]


def status(lab: Testbed, question: str) -> str:
    text = out(lab, "client", f"dig {question}")
    return text.split("status: ")[1].split(",")[0]


def questions(lab: Testbed, act: Callable[[], object]) -> list[str]:
    """What the Pod `client` asks while `act` runs, from a capture at the Pod. The addresses the C library asks for
    both families at once, in either order on the wire: sorted by name and type, in the order the names came."""
    assert lab.plan
    recorder = Recorder(points(lab.plan, ["pod/client"]), opener(lab.host.netns))
    try:
        act()
    finally:
        capture = recorder.stop()
    assert not capture.drops
    sent = [frame for frame in capture.frames if (inner := decode(frame).inner) and inner.dport == 53]
    queries = [wire.decode(frame.data[UDP_PAYLOAD:]) for frame in sent]
    names = list(dict.fromkeys(query.name for query in queries))
    return [f"{kind} {name}" for name in names for kind in sorted(each.type for each in queries if each.name == name)]


def test_nslookup_shows_the_server_the_full_name_and_the_cluster_ip(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        lines = out(lab, "client", "nslookup nginx-svc").replace("\t\t", "\t").splitlines()
        assert "Server:\t10.96.0.10" in lines
        assert "Address:\t10.96.0.10#53" in lines
        found = lines.index("Name:\tnginx-svc.default.svc.cluster.local")
        assert lines[found + 1] == f"Address: {cluster_ip(lab, 'nginx-svc')}"

    testbed(inside)


def test_a_service_of_another_namespace_has_a_name_of_two_parts_and_not_of_one(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, NGINX_OF_ITS_OWN_NAMESPACE)
        answer = f"Server address: {addresses(lab, 'nginx', 'nginx')[0]}:80"
        assert answer in out(lab, "client", "curl -s nginx.nginx")
        failed = run(lab, "client", "curl -sS nginx")
        assert (failed.code, failed.out) == (6, "curl: (6) Could not resolve host: nginx\n")
        assert answer in out(lab, "nginx/nginx-client", "curl -s nginx")

    testbed(inside)


def test_records_of_every_kind(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, NAMED_PORTS)
        member = "db-0.db.default.svc.cluster.local."
        web, (db,) = addresses(lab, "web"), addresses(lab, "db")
        assert dig(lab, "web.default.svc.cluster.local") == [cluster_ip(lab, "web")]
        assert sorted(dig(lab, "web-headless.default.svc.cluster.local")) == web
        assert dig(lab, "SRV _http._tcp.web.default.svc.cluster.local") == ["0 100 80 web.default.svc.cluster.local."]
        assert dig(lab, "SRV _udp._udp.web.default.svc.cluster.local") == ["0 100 8081 web.default.svc.cluster.local."]
        assert dig(lab, "SRV _sql._tcp.db.default.svc.cluster.local") == [
            "0 100 5432 db-0.db.default.svc.cluster.local."
        ]
        assert dig(lab, "db-0.db.default.svc.cluster.local") == [db]
        assert dig(lab, f"-x {db}") == [member]
        assert dig(lab, "-x 10.96.0.10") == ["kube-dns.kube-system.svc.cluster.local."]
        assert dig(lab, f"-x {cluster_ip(lab, 'web')}") == ["web.default.svc.cluster.local."]
        assert dig(lab, f"{db.replace('.', '-')}.default.pod.cluster.local") == [db]
        assert dig(lab, "kubernetes.default.svc.cluster.local") == ["10.96.0.1"]

    testbed(inside)


def test_no_such_name_is_told_from_no_such_record_and_other_domains_are_refused(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert status(lab, "nope.default.svc.cluster.local") == "NXDOMAIN"
        assert status(lab, "web.nope.svc.cluster.local") == "NXDOMAIN"
        for question in ("AAAA web.default.svc.cluster.local", "MX web.default.svc.cluster.local"):
            text = out(lab, "client", f"dig {question}")
            assert "status: NOERROR" in text and "ANSWER: 0, AUTHORITY: 1" in text
            assert "SOA\tns.dns.cluster.local. hostmaster.cluster.local." in text
        assert status(lab, "example.com") == "REFUSED"
        assert status(lab, "-x 192.0.2.1") == "REFUSED"

    testbed(inside)


def test_dns_is_served_by_tcp_as_well(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        text = out(lab, "client", "dig +tcp web.default.svc.cluster.local")
        assert cluster_ip(lab, "web") in text
        assert ";; SERVER: 10.96.0.10#53(10.96.0.10) (TCP)" in text

    testbed(inside)


def test_both_replicas_of_cluster_dns_answer(testbed: Labs) -> None:
    """Sixty questions from as many source ports: one replica alone has a chance of 2^-59."""

    def inside(lab: Testbed) -> None:
        assert lab.plan
        replicas = set(endpoints(lab, "kube-dns", "kube-system"))
        assert len(replicas) == 2
        recorder = Recorder(points(lab.plan, ["all"]), opener(lab.host.netns))
        out(lab, "client", "for i in $(seq 60); do echo web.default.svc.cluster.local; done | xargs dig +short +noedns")
        inner = [decode(frame).inner for frame in recorder.stop().frames]
        assert {str(each.dst) for each in inner if each and each.dport == 53} == {"10.96.0.10", *replicas}

    testbed(inside)


def test_the_number_of_questions_for_a_short_a_full_and_an_outside_name(testbed: Labs) -> None:
    """ndots:5 of Kubernetes: a name with fewer dots is tried in the search domains first."""
    service = "nginx-svc.default.svc.cluster.local."

    def inside(lab: Testbed) -> None:
        def asked(name: str) -> list[str]:
            return questions(lab, lambda: run(lab, "client", f"curl -s -o /dev/null {name}"))

        assert asked("nginx-svc") == both(service)
        assert asked(service.rstrip(".")) == both(*(service + domain for domain in SEARCHED), service)
        assert asked(service) == both(service)
        tried = both(*(f"example.com.{domain}" for domain in SEARCHED))
        refused_twice = ["A example.com.", "A example.com.", "AAAA example.com.", "AAAA example.com."]
        assert asked("example.com") == [*tried, *refused_twice]  # the C library tries a server that refuses once more

    testbed(inside)


def test_an_outside_name_comes_from_the_upstream_after_the_search_domains(testbed: Labs) -> None:
    """The upstream is a name server in a Pod: there is no other way out of a lab."""

    def inside(lab: Testbed) -> None:
        asked = questions(lab, lambda: out(lab, "client", "getent ahostsv4 example.com | grep -q ^198.51.100.7"))
        assert asked == [f"A example.com.{domain}" for domain in (*SEARCHED, "")]
        assert status(lab, "nope.default.svc.cluster.local") == "NXDOMAIN"

    testbed(inside, manifests=UPSTREAM, dns=Dns(upstream="10.244.2.53"))


def test_names_follow_the_services(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        before = addresses(lab, "web")
        lab.scale(("Deployment", "default", "web"), 3)
        lab.wait_ready(8)
        after = addresses(lab, "web")
        assert set(before) < set(after) == set(dig(lab, "web-headless.default.svc.cluster.local"))
        lab.delete([("Service", "default", "web-headless")])
        assert status(lab, "web-headless.default.svc.cluster.local") == "NXDOMAIN"
        lab.delete([("Deployment", "default", "web")])
        wait_until(lambda: not addresses(lab, "web"), "the Pods of web are gone")
        assert dig(lab, "web.default.svc.cluster.local") == [cluster_ip(lab, "web")]

    testbed(inside)


def test_a_server_that_is_killed_is_restarted_as_a_container_and_answers_again(testbed: Labs) -> None:
    """One process serves both replicas."""

    def inside(lab: Testbed) -> None:
        dns = [key[2] for key in lab.store.snapshot().objects if key[:2] == ("Pod", "kube-system")]
        assert len(dns) == 2

        def containers() -> list[ContainerStatus]:
            return [pod(lab, name, "kube-system").status.container_statuses[0] for name in dns]

        (server,) = out(lab, "node1", "pgrep -x 'emu dns'").split()
        os.kill(int(server), signal.SIGKILL)
        wait_until(lambda: not any(each.ready for each in containers()), "none is ready")
        assert endpoints(lab, "kube-dns", "kube-system") == []
        wait_until(lambda: all(each.restart_count == 1 and each.ready for each in containers()), "restarted")
        ended = [each.last_state.terminated for each in containers()]
        assert all(each and (each.exit_code, each.reason) == (137, "Error") for each in ended)
        assert dig(lab, "nginx-svc.default.svc.cluster.local") == [cluster_ip(lab, "nginx-svc")]

        (server,) = out(lab, "node1", "pgrep -x 'emu dns'").split()
        os.kill(int(server), signal.SIGKILL)
        wait_until(
            lambda: all(pod_status(pod(lab, name, "kube-system")) == "CrashLoopBackOff" for name in dns), "back-off"
        )

    testbed(inside)
