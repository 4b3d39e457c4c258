"""Connections and flows of a client while the endpoints of their Service come and go."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from dataclasses import replace

import pytest
from inside import apply, cluster_ip, deployment, is_gone, opened, out, pods, pods_there, scaled, wait_until
from labs import Labs

from emu.api.objects import Service
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root


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
