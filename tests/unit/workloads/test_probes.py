"""Probes over real connections on loopback; the time between them is the test's."""

import shutil
import signal
import socket
import ssl
import subprocess
import threading
from dataclasses import replace

import pytest
from kubelet_lab import Lab, pod, process

from emu.api.objects import ContainerPort, ExecAction, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction


class Server:
    """Answers each connection with `reply`, keeps what it was sent, counts those the kubelet has closed."""

    def __init__(self, reply=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", tls=None):
        self.reply, self.seen, self.finished = reply, [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        if tls:
            self.listener = tls.wrap_socket(self.listener, server_side=True)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.seen.append(connection.recv(4096))
                if self.seen[-1]:
                    connection.sendall(self.reply)
                    connection.recv(1)  # returns when the kubelet has made up its mind
                self.finished += 1

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path / "logs")


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def http_probe(port, **fields):
    return Probe(http_get=HTTPGetAction(port=port, path="/healthz"), **fields)


def test_ready_when_the_probe_says_so(lab, server):
    lab.start(pod(process(readiness_probe=http_probe(server.port))))
    assert not lab.reports[0].container_statuses[0].ready
    lab.wait(lambda: lab.container.ready)
    assert lab.condition("Ready").status == "True"


def test_the_request_is_the_kubelets(lab, server):
    action = HTTPGetAction(port=server.port, path="/healthz", http_headers=(HTTPHeader(name="X-Lab", value="1"),))
    lab.start(pod(process(readiness_probe=Probe(http_get=action))))
    lab.wait(lambda: server.seen)
    assert server.seen[0].decode().split("\r\n") == [
        "GET /healthz HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: kube-probe/1.30",
        "Accept: */*",
        "X-Lab: 1",
        "Connection: close",
        "",
        "",
    ]


def test_a_port_may_be_named(lab, server):
    port = ContainerPort(container_port=server.port, name="web")
    lab.start(pod(process(ports=(port,), readiness_probe=http_probe("web"))))
    lab.wait(lambda: lab.container.ready)


def test_three_failures_make_a_pod_not_ready_and_one_success_ready_again(lab, server):
    lab.start(pod(process(readiness_probe=http_probe(server.port))))
    lab.wait(lambda: lab.container.ready)
    server.reply = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    for failures in (1, 2, 3):
        assert lab.container.ready
        lab.advance(10)
        lab.wait(lambda failures=failures: server.finished == 1 + failures)
    assert not lab.container.ready
    assert lab.condition("Ready").reason == "ContainersNotReady"
    server.reply = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    lab.advance(10)
    lab.wait(lambda: lab.container.ready)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl, to make a certificate, is not installed")
def test_https_takes_any_certificate(lab, tmp_path):
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(tls=context)
    action = HTTPGetAction(port=server.port, scheme="HTTPS")
    lab.start(pod(process(readiness_probe=Probe(http_get=action, timeout_seconds=30))))
    lab.wait(lambda: lab.container.ready)
    server.close()


def test_tcp_needs_a_connection_and_no_more(lab, server):
    lab.start(pod(process(readiness_probe=Probe(tcp_socket=TCPSocketAction(port=server.port)))))
    lab.wait(lambda: lab.container.ready)


def test_a_closed_port_fails(lab):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    probe = Probe(tcp_socket=TCPSocketAction(port=port), failure_threshold=1)
    lab.start(pod(process(liveness_probe=probe)))
    lab.wait(lambda: lab.runtime.last.signals)
    assert lab.runtime.last.signals == [signal.SIGTERM]


def test_silence_fails_after_the_timeout(lab):
    silent = socket.create_server(("127.0.0.1", 0))
    probe = http_probe(silent.getsockname()[1], failure_threshold=1, timeout_seconds=1)
    lab.start(pod(process(liveness_probe=probe)))
    lab.advance(0.9)
    assert not lab.runtime.last.signals
    lab.advance(0.2)
    assert lab.runtime.started[0].signals == [signal.SIGTERM]
    silent.close()


def test_a_container_that_fails_its_liveness_probe_starts_anew(lab):
    probe = Probe(exec=ExecAction(command=("check",)), period_seconds=10, failure_threshold=2)
    lab.start(pod(process(liveness_probe=probe)))
    for _ in range(2):
        check = lab.runtime.last
        assert check.argv == ("check",)
        check.end(1)
        lab.advance(10)
    app = lab.runtime.started[0]
    assert app.signals == [signal.SIGTERM]
    assert (lab.container.restart_count, lab.container.state.running is not None) == (1, True)


def test_a_container_that_ignores_the_end_is_killed_after_the_grace_period(lab):
    lab.runtime.stubborn = True
    probe = Probe(exec=ExecAction(command=("check",)), failure_threshold=1, period_seconds=1000)
    lab.start(pod(process(liveness_probe=probe), grace=5))
    lab.runtime.last.end(1)
    lab.settle()
    lab.advance(4)
    assert lab.runtime.started[0].signals == [signal.SIGTERM]
    lab.advance(1)
    assert lab.runtime.started[0].signals == [signal.SIGTERM, signal.SIGKILL]


def test_an_exec_probe_that_hangs_is_killed_and_fails(lab):
    probe = Probe(exec=ExecAction(command=("check",)), timeout_seconds=2, failure_threshold=1, period_seconds=100)
    lab.start(pod(process(liveness_probe=probe)))
    check = lab.runtime.last
    lab.advance(2)
    assert check.signals == [signal.SIGKILL]
    assert lab.runtime.started[0].signals == [signal.SIGTERM]


def test_the_startup_probe_holds_the_others_back(lab):
    ready = Probe(exec=ExecAction(command=("ready",)))
    started = Probe(exec=ExecAction(command=("started",)), period_seconds=5)
    lab.start(pod(process(startup_probe=started, readiness_probe=ready, liveness_probe=ready)))
    assert [each.argv for each in lab.runtime.started[1:]] == [("started",)]
    assert (lab.container.started, lab.container.ready) == (False, False)
    lab.runtime.last.end(1)
    lab.advance(5)
    lab.runtime.last.end(0)
    lab.settle()
    assert (lab.container.started, lab.container.ready) == (True, False)
    assert [each.argv for each in lab.runtime.started[3:]] == [("ready",), ("ready",)]
    lab.runtime.started[3].end(0)
    lab.settle()
    assert lab.container.ready


def test_the_first_attempt_waits_for_the_initial_delay(lab):
    probe = Probe(exec=ExecAction(command=("check",)), initial_delay_seconds=15)
    lab.start(pod(process(readiness_probe=probe)))
    lab.advance(14)
    assert len(lab.runtime.started) == 1
    lab.advance(1)
    assert len(lab.runtime.started) == 2


def test_probes_end_with_their_container(lab):
    probe = Probe(exec=ExecAction(command=("check",)))
    lab.start(pod(process(readiness_probe=probe), policy="Never"))
    lab.runtime.started[0].end(1)
    lab.advance(100)
    assert len(lab.runtime.started) == 2


def test_of_pods_that_start_together_the_probed_ones_are_first(lab):
    plain = {f"default.web-{n}": replace(pod(process(f"app-{n}")), name=f"web-{n}") for n in range(40)}
    probed = replace(pod(process("probed", readiness_probe=Probe(exec=ExecAction(command=("check",))))), name="probed")
    lab.kubelet.start_all({**plain, "default.probed": probed})
    lab.settle()
    assert (len(lab.reports), lab.tellings) == (41, 1)
    assert [each.argv[0] for each in lab.runtime.started].index("check") < 35
