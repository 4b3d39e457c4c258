"""The server over real sockets on loopback."""

import os
import queue
import signal
import socket
import struct
import threading

import dns.message
import dns.query
import dns.rdatatype
import pytest

from emu.dnsserver.forward import Forwarder, address_of
from emu.dnsserver.server import main
from emu.dnsserver.service import DnsService
from emu.plan.dns import DnsService as Service
from emu.plan.model import DnsZone
from emu.poller import Poller

TIMEOUT_S = 5
ALIAS = Service(namespace="default", name="alias", external_name="ext.interwebs.test")


def zone(address="10.96.10.10", **fields):
    web = Service(namespace="default", name="web", cluster_ips=(address,))
    return DnsZone(namespaces=("default",), services=(web, ALIAS), serial=5, **fields)


def bound(kind, host="127.0.0.1"):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    sock.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


class Lab:
    """A server thread, its service, and one Pod's ports."""

    def __init__(self, host="127.0.0.1"):
        self.threads = []
        self.service = DnsService(self.start)
        self.sockets = [
            ("udp", bound(socket.SOCK_DGRAM, host)),
            ("tcp", bound(socket.SOCK_STREAM, host)),
            ("upstream", socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
            *((role, bound(socket.SOCK_STREAM)) for role in ("health", "ready", "metrics")),
        ]
        self.ports = {role: sock.getsockname()[1] for role, sock in self.sockets}
        self.host = host
        self.service.add("kube-system/coredns-1", "127.0.0.1", self.sockets)

    def start(self):
        ours, self.theirs = socket.socketpair()
        self.threads.append(threading.Thread(target=main, args=(self.theirs,)))
        self.threads[-1].start()
        return ours

    def udp(self, name, kind="A"):
        query = dns.message.make_query(name, kind)
        return dns.query.udp(query, self.host, TIMEOUT_S, self.ports["udp"])

    def tcp(self, name, kind="A"):
        query = dns.message.make_query(name, kind)
        return dns.query.tcp(query, self.host, TIMEOUT_S, self.ports["tcp"])

    def http(self, role, path):
        with socket.create_connection(("127.0.0.1", self.ports[role]), TIMEOUT_S) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return b"".join(iter(lambda: sock.recv(65536), b"")).decode()

    def close(self):
        self.service.close()
        self.threads[-1].join(TIMEOUT_S)
        for _, sock in self.sockets:
            sock.close()
        assert not self.threads[-1].is_alive()


@pytest.fixture
def lab():
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def upstream():
    """A name server for one question: returns what it is told to, whatever is asked."""
    sock = bound(socket.SOCK_DGRAM)
    asked = []

    def serve():
        data, client = sock.recvfrom(4096)
        query = dns.message.from_wire(data)
        asked.append((query.question[0].name.to_text(), query.id))
        reply = dns.message.make_response(query, recursion_available=True)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.7"))
        sock.sendto(reply.to_wire(), client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{sock.getsockname()[1]}", asked
    sock.close()


WEB = "web.default.svc.cluster.local."


def test_before_a_zone_there_is_no_answer_and_no_readiness(lab):
    assert lab.udp(WEB).rcode() == dns.rcode.SERVFAIL
    assert lab.http("ready", "/ready").startswith("HTTP/1.1 503")
    lab.service.zone(zone())
    assert lab.udp(WEB).answer[0][0].to_text() == "10.96.10.10"
    assert lab.http("ready", "/ready").endswith("\r\n\r\nOK")


def test_a_new_zone_replaces_what_was_cached(lab):
    lab.service.zone(zone("10.96.10.10"))
    lab.udp(WEB)
    lab.service.zone(zone("10.96.10.11"))
    assert lab.udp(WEB).answer[0][0].to_text() == "10.96.10.11"


def test_the_serial_rises_with_every_change_and_only_then(lab):
    serials = []
    for each in (zone(), zone(), zone("10.96.10.11"), zone("10.96.10.11")):
        lab.service.zone(each)
        serials.append(lab.udp("cluster.local.", "SOA").answer[0][0].serial)
    assert serials == [5, 5, 6, 6]


def test_tcp_answers_several_questions_on_one_connection(lab):
    lab.service.zone(zone())
    query = dns.message.make_query(WEB, "A").to_wire()
    with socket.create_connection(("127.0.0.1", lab.ports["tcp"]), TIMEOUT_S) as sock:
        frame = struct.pack("!H", len(query)) + query
        sock.sendall(frame[:7])
        sock.sendall(frame[7:] + frame)
        stream = sock.makefile("rb")
        for _ in range(2):
            reply = dns.message.from_wire(stream.read(struct.unpack("!H", stream.read(2))[0]))
            assert reply.answer[0][0].to_text() == "10.96.10.10"


def test_health_and_metrics_are_served(lab):
    lab.service.zone(zone())
    lab.udp(WEB)
    assert lab.http("health", "/health").endswith("\r\n\r\nOK")
    assert lab.http("health", "/nothing").startswith("HTTP/1.1 404")
    assert 'coredns_dns_requests_total{server="dns://:53",zone="."} 1' in lab.http("metrics", "/metrics")


def test_a_name_outside_is_refused_without_an_upstream(lab):
    lab.service.zone(zone())
    assert lab.udp("example.com.").rcode() == dns.rcode.REFUSED


def test_a_name_outside_is_forwarded_to_the_upstream(lab, upstream):
    lab.service.zone(zone(upstream=upstream[0]))
    reply = lab.udp("example.com.")
    assert reply.answer[0][0].to_text() == "192.0.2.7"
    assert dns.flags.to_text(reply.flags) == "QR RD RA"  # the upstream's flags, not ours


def test_a_dual_stack_socket_reaches_an_ipv4_upstream(upstream):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        poller, got = Poller(), []
        query = dns.message.make_query("example.com.", "A").to_wire()
        Forwarder(poller, sock, upstream[0]).ask(query, got.append)
        while not got:
            poller.turn(TIMEOUT_S)
        assert got[0][:2] == query[:2]


def test_an_external_name_is_completed_by_the_upstream(lab, upstream):
    lab.service.zone(zone(upstream=upstream[0]))
    reply = lab.udp("alias.default.svc.cluster.local.")
    assert [rrset[0].to_text() for rrset in reply.answer] == ["ext.interwebs.test.", "192.0.2.7"]
    assert upstream[1][0][0] == "ext.interwebs.test."


def test_an_upstream_that_is_not_there_is_servfail(lab):
    with bound(socket.SOCK_DGRAM) as gone:
        port = gone.getsockname()[1]
    lab.service.zone(zone(upstream=f"127.0.0.1:{port}"))
    assert lab.udp("example.com.").rcode() == dns.rcode.SERVFAIL
    assert lab.udp(WEB).rcode() == dns.rcode.NOERROR
    alias = lab.udp("alias.default.svc.cluster.local.")
    assert [rrset[0].to_text() for rrset in alias.answer] == ["ext.interwebs.test."]


def test_a_removed_pod_leaves_no_socket_behind(lab):
    before = len(os.listdir("/proc/self/fd"))
    more = [("udp", bound(socket.SOCK_DGRAM)), ("tcp", bound(socket.SOCK_STREAM))]
    lab.service.add("kube-system/coredns-2", "127.0.0.1", more)
    lab.service.remove("kube-system/coredns-2")
    for _, sock in more:
        sock.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_ipv6_is_served_alike():
    lab = Lab("::1")
    lab.service.zone(zone())
    assert lab.udp(WEB).answer[0][0].to_text() == lab.tcp(WEB).answer[0][0].to_text() == "10.96.10.10"
    lab.close()


def test_an_upstream_may_carry_a_port():
    assert [address_of(text) for text in ("192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:54")] == [
        ("192.0.2.1", 53),
        ("192.0.2.1", 5353),
        ("2001:db8::1", 53),
        ("2001:db8::1", 54),
    ]


def test_a_server_that_ends_tells_what_it_served_and_the_next_pod_gets_another_with_the_same_zone():
    lab = Lab()
    lab.service.zone(zone())
    ended = queue.Queue()
    lab.service.add("kube-system/coredns-1", "127.0.0.1", lab.sockets, on_exit=ended.put)
    lab.theirs.shutdown(socket.SHUT_RDWR)
    assert ended.get(timeout=TIMEOUT_S) == -signal.SIGKILL
    lab.service.zone(zone("10.96.10.11"))
    lab.service.add("kube-system/coredns-1", "127.0.0.1", lab.sockets)
    assert lab.udp("web.default.svc.cluster.local").answer[0][0].address == "10.96.10.11"
    assert len(lab.threads) == 2
    lab.service.close()
