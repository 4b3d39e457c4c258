"""A Service as its clients meet it: by name and by variable, evenly over its Pods, from Pods and from Nodes."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest
from inside import addresses, apply, ask, cluster_ip, endpoints, out, pods, run
from labs import Labs

from emu.api.objects import Endpoints
from emu.api.topology import Ranges
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

#: Each request a connection of its own, all by one program.
MANY = "curl -s -H 'Connection: close' '{}?[1-{}]'"

FOO = """
apiVersion: v1
kind: Service
metadata: {name: foo-app-service}
spec:
  clusterIP: 10.110.235.51
  selector: {app: foo}
  ports: [{name: http-accounting, port: 80, targetPort: 8080}]
"""

LATE = """
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  containers: [{name: netshoot, image: nicolaka/netshoot, args: [sleep, infinity], env: [{name: OWN, value: "1"}]}]
"""

STICKY = """
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  selector: {app: web}
  sessionAffinity: ClientIP
  ports: [{name: http, port: 80, targetPort: http}]
"""

NO_ENDPOINTS = """
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec:
  selector: {app: nobody}
  ports:
    - {name: tcp, port: 80}
    - {name: udp, port: 80, protocol: UDP}
"""

BY_HAND = """
apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec:
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: by-hand}
subsets:
  - addresses: [{ip: 10.244.1.77}]
    ports: [{port: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: asked-for, annotations: {kube-emu.io/ip: 10.244.1.77}}
spec:
  nodeName: node1
  containers: [{name: agnhost, image: registry.k8s.io/e2e-test-images/agnhost, args: [netexec]}]
"""


STANDALONE = """
apiVersion: v1
kind: Pod
metadata: {name: alone, labels: {app: alone}}
spec:
  nodeName: node1
  containers:
    - {name: agnhost, image: registry.k8s.io/e2e-test-images/agnhost, args: [netexec]}
---
apiVersion: v1
kind: Service
metadata: {name: mirror}
spec:
  selector: {app: alone}
  ports: [{port: 8080}]
"""


def test_the_name_of_a_service_answers_with_its_pods_page(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        (address,) = addresses(lab, "nginx")
        assert out(lab, "client", "curl -sI nginx-svc").startswith("HTTP/1.1 200 OK\r\n")
        page = out(lab, "client", "curl -s nginx-svc | grep address")
        assert page == f"<p><span>Server&nbsp;address:</span> <span>{address}:80</span></p>\n"

    testbed(inside)


def test_five_replicas_answer_evenly(testbed: Labs) -> None:
    """Chi-square with 4 degrees of freedom: an even choice exceeds 36 once in four million times."""

    def inside(lab: Testbed) -> None:
        lab.scale(("Deployment", "default", "nginx-hello"), 5)
        lab.wait_ready(8)
        replicas = addresses(lab, "nginx")
        assert len(replicas) == 5
        found = lab.get((Endpoints.KIND, "default", "nginx-svc"))
        assert isinstance(found, Endpoints)
        assert sorted(each.ip for each in found.subsets[0].addresses) == replicas == endpoints(lab, "nginx-svc")
        changed = found.metadata.annotations["endpoints.kubernetes.io/last-change-trigger-time"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", changed)
        pages = out(lab, "client", MANY.format("http://nginx-svc/", 300))
        answers = Counter(re.findall(r"<span>([\d.]+):80</span>", pages))
        assert sorted(answers) == replicas
        assert sum(answers.values()) == 300
        assert sum((count - 60) ** 2 / 60 for count in answers.values()) < 36, answers

    testbed(inside)


def test_a_server_sees_the_pod_behind_a_cluster_ip_and_the_node_itself_masqueraded(testbed: Labs) -> None:
    """As under a real kube-proxy with --cluster-cidr: what comes from no Pod is masqueraded, and then has the address
    of the interface it leaves by."""

    def inside(lab: Testbed) -> None:
        url = f"http://{cluster_ip(lab, 'web')}/clientip"
        client = out(lab, "client", "hostname -I").strip()
        seen = {line.rsplit(":", 1)[0] for line in _answers(lab, "client", url, 20)}
        assert seen == {client}
        assert {line.rsplit(":", 1)[0] for line in _answers(lab, "node1", url, 40)} == {"10.244.1.1", "10.244.1.0"}

    testbed(inside)


def _answers(lab: Testbed, where: str, url: str, count: int) -> list[str]:
    """One line each."""
    text = out(lab, where, f"curl -s -H 'Connection: close' -w '\\n' '{url}?[1-{count}]'")
    return [line for line in text.splitlines() if line]


def test_a_pod_reaches_itself_by_its_own_service(testbed: Labs) -> None:
    """Hairpin: the packet leaves the Pod and comes back by the same bridge port, with the bridge's address."""

    def inside(lab: Testbed) -> None:
        apply(lab, STANDALONE)
        assert out(lab, "alone", "curl -s mirror:8080/hostname") == "alone"
        assert out(lab, "alone", "curl -s mirror:8080/clientip").startswith("10.244.1.1:")

    testbed(inside)


def test_a_service_by_udp_answers_from_both_its_pods(testbed: Labs) -> None:
    """Forty questions from as many ports: by chance all to one of two, 2^-39."""

    def inside(lab: Testbed) -> None:
        names = {ask(lab, "client", cluster_ip(lab, "web"), 8081, "hostname") for _ in range(40)}
        assert names == {each.metadata.name for each in pods(lab, "web")}

    testbed(inside)


def test_a_client_with_affinity_stays_with_one_pod(testbed: Labs) -> None:
    """Thirty connections by chance to one of two: 2^-29."""

    def inside(lab: Testbed) -> None:
        apply(lab, STICKY)
        assert len(set(_answers(lab, "client", "http://sticky/hostname", 30))) == 1
        assert len(set(_answers(lab, "client", "http://web/hostname", 30))) == 2

    testbed(inside)


def test_a_service_without_endpoints_refuses_at_once_from_pods_and_nodes(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, NO_ENDPOINTS)
        address = cluster_ip(lab, "nobody")
        began = time.monotonic()
        for where in ("client", "node1"):
            failed = run(lab, where, f"curl -sS http://{address}")
            assert failed.code == 7
            assert "Couldn't connect to server" in failed.out
        with pytest.raises(ConnectionRefusedError):
            ask(lab, "client", address, 80, "anybody?")
        assert time.monotonic() - began < 1

    testbed(inside)


def test_a_pod_started_after_a_service_has_its_variables(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, FOO)
        apply(lab, LATE)
        late = dict(line.split("=", 1) for line in out(lab, "late", ["env"]).splitlines())
        assert {name: value for name, value in late.items() if name.startswith("FOO_")} == {
            "FOO_APP_SERVICE_SERVICE_HOST": "10.110.235.51",
            "FOO_APP_SERVICE_SERVICE_PORT": "80",
            "FOO_APP_SERVICE_SERVICE_PORT_HTTP_ACCOUNTING": "80",
            "FOO_APP_SERVICE_PORT": "tcp://10.110.235.51:80",
            "FOO_APP_SERVICE_PORT_80_TCP": "tcp://10.110.235.51:80",
            "FOO_APP_SERVICE_PORT_80_TCP_PROTO": "tcp",
            "FOO_APP_SERVICE_PORT_80_TCP_PORT": "80",
            "FOO_APP_SERVICE_PORT_80_TCP_ADDR": "10.110.235.51",
        }
        assert late["OWN"] == "1"
        assert "FOO_APP" not in out(lab, "client", ["env"])  # it was there before

    testbed(inside)


def test_endpoints_made_by_hand_are_used(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, BY_HAND)
        assert endpoints(lab, "by-hand") == ["10.244.1.77"]
        assert out(lab, "client2", "curl -s by-hand/hostname") == "asked-for"

    testbed(inside)


IPV6 = ("fd00:100::/64", "fd00:10:244::/48", "fd00:10:96::/108")
IPV4 = ("192.168.100.0/24", "10.244.0.0/16", "10.96.0.0/12")
BOTH = """
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
"""


@pytest.mark.parametrize(
    ("family", "ranges"),
    [
        ("ipv6", [(each,) for each in IPV6]),
        ("ipv4-ipv6", list(zip(IPV4, IPV6, strict=True))),
        ("ipv6-ipv4", list(zip(IPV6, IPV4, strict=True))),
    ],
)
def test_services_and_names_work_in_every_family(testbed: Labs, family: str, ranges: list[tuple[str, ...]]) -> None:
    """A client is seen with its own address of the family it came by."""

    def inside(lab: Testbed) -> None:
        apply(lab, BOTH)
        own = out(lab, "client", "hostname -I").split()
        assert len(own) == len(family.split("-"))
        for address in own:
            option, shown = ("-6", f"[{address}]") if ":" in address else ("-4", address)
            assert out(lab, "client", f"curl -s {option} both/clientip").startswith(f"{shown}:")
            record = "AAAA" if ":" in address else "A"
            (found,) = out(lab, "client", f"dig +short {record} both.default.svc.cluster.local").split()
            assert out(lab, "client", f"dig +short -x {found}") == "both.default.svc.cluster.local.\n"

    nodes, pods_, services = ranges
    testbed(inside, family=family, ranges=Ranges(nodes=nodes, pods=pods_, services=services, node_pod_prefix=24))


def test_services_work_with_legacy_iptables(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert out(lab, "client", "curl -sI nginx-svc").startswith("HTTP/1.1 200 OK")
        assert run(lab, "client", "curl -s empty").code == 7
        assert "KUBE-SVC-" in out(lab, "node1", "iptables-legacy-save -t nat")
        assert not lab.check()

    testbed(inside, iptables="legacy")
