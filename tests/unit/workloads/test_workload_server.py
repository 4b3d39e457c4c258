"""The shared server over real sockets on loopback."""

import http.client
import os
import queue
import re
import signal
import socket
import threading

import pytest

from emu.workloads.handler import BadArguments, Port
from emu.workloads.handlers import HANDLERS
from emu.workloads.server import main
from emu.workloads.service import WorkloadService

TIMEOUT_S = 5


def bound(kind, host="127.0.0.1"):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    sock.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


class Lab:
    def __init__(self, log):
        self.threads, self.theirs = [], []
        self.service = WorkloadService(self.start)
        self.log, self.exits = log, queue.Queue()

    def start(self):
        """As a process of its own would be started."""
        ours, theirs = socket.socketpair()
        self.theirs.append(theirs)
        self.threads.append(threading.Thread(target=main, args=(theirs,)))
        self.threads[-1].start()
        return ours

    def add(self, handler, argv=(), name="web-0", host="127.0.0.1"):
        """Serve a container on free ports; the addresses by role."""
        kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
        sockets = [(port.role, bound(kinds[port.kind], host)) for port in HANDLERS[handler].ports(argv)]
        fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.key = self.service.add(handler, argv, name, sockets, log_fd=fd, on_exit=self.exits.put)
        os.close(fd)
        addresses = {role: sock.getsockname()[:2] for role, sock in sockets}
        for _, sock in sockets:
            sock.close()
        return addresses

    def close(self):
        self.service.close()
        for thread in self.threads:
            thread.join(TIMEOUT_S)
        assert not any(thread.is_alive() for thread in self.threads)


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "log")
    yield lab
    lab.close()


def fetch(address, path="/", method="GET", body=None, headers=None):
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def raw(address, data):
    with socket.create_connection(address, TIMEOUT_S) as sock:
        sock.sendall(data)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def ask(address, text):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(address)
        sock.send(text)
        return sock.recv(2048).decode(), sock.getsockname()[1]


def test_the_page_has_one_line_with_the_pods_address(lab):
    address = lab.add("hello")["http"]
    response, text = fetch(address)
    (line,) = [line for line in text.splitlines() if "address" in line]  # curl -s … | grep address
    assert line == f"<p><span>Server&nbsp;address:</span> <span>127.0.0.1:{address[1]}</span></p>"
    assert "<span>Server&nbsp;name:</span> <span>web-0</span>" in text
    assert response.getheader("Content-Type") == "text/html"
    assert response.getheader("Transfer-Encoding") == "chunked"


def test_the_plain_text_tag_prints_lines(lab):
    address = lab.add("hello-plain-text")["http"]
    response, text = fetch(address, "/a?b=c")
    shape = (
        rf"Server address: 127\.0\.0\.1:{address[1]}\nServer name: web-0\n"
        r"Date: \d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\nURI: /a\?b=c\nRequest ID: [0-9a-f]{32}\n"
    )
    assert re.fullmatch(shape, text)
    assert response.getheader("Content-Type") == "text/plain"


def test_curl_dash_i_shows_nginx(lab):
    head = raw(lab.add("hello")["http"], b"HEAD / HTTP/1.1\r\nHost: nginx-svc\r\nConnection: close\r\n\r\n").decode()
    assert head.startswith("HTTP/1.1 200 OK\r\nServer: nginx/")
    assert head.endswith("\r\n\r\n")


def test_what_the_page_shows_of_the_request_is_escaped(lab):
    assert "<b>" not in fetch(lab.add("hello")["http"], "/<b>")[1]


def test_one_connection_carries_many_requests(lab):
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert raw(lab.add("hello-plain-text")["http"], request * 2 + last).count(b"Server name: web-0") == 3


def test_nonsense_is_a_400_and_the_end_of_the_connection(lab):
    got = raw(lab.add("hello")["http"], b"nonsense\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400 Bad Request\r\nServer: nginx/")
    assert b"Connection: close" in got


def test_the_page_is_read_only(lab):
    assert fetch(lab.add("hello")["http"], method="POST", body="x")[0].status == 405


def test_each_request_is_a_line_of_the_log(lab):
    fetch(lab.add("hello")["http"], "/x", headers={"User-Agent": "curl/8"})
    shape = r'127\.0\.0\.1 - - \[.+\] "GET /x HTTP/1\.1" 200 \d+ "-" "curl/8" "-"\n'
    assert re.fullmatch(shape, lab.log.read_text())


def test_netexec_over_http(lab):
    address = lab.add("netexec")["http"]
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    connection.connect()
    port = connection.sock.getsockname()[1]

    def get(path, **headers):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()

    assert get("/hostname") == get("/hostName") == (200, "web-0")
    assert get("/clientip") == (200, f"127.0.0.1:{port}")
    assert get("/echo?msg=Hello%20World") == (200, "Hello World")
    assert get("/echo?msg=x&code=418") == (418, "x")
    assert get("/header?key=X-Lab", **{"X-Lab": "here"}) == (200, "here")
    assert get("/healthz") == (200, "")
    assert get("/redirect?location=/echo") == (302, "")
    assert get("/anything")[1].startswith("NOW: 2")
    assert get("/shell?cmd=id")[0] == 501
    connection.close()


def test_netexec_over_udp(lab):
    address = lab.add("netexec")["udp"]
    assert ask(address, b"hostname\n")[0] == "web-0"
    assert ask(address, b"echo Hello")[0] == "hello"  # the real one, too, folds the case
    text, port = ask(address, b"clientip")
    assert text == f"127.0.0.1:{port}"


def test_netexec_without_udp_is_not_healthy(lab):
    assert fetch(lab.add("netexec", ("--udp-port=-1",))["http"], "/healthz")[0].status == 412


def test_exit_ends_the_container_with_its_code(lab):
    address = lab.add("netexec")["http"]
    raw(address, b"GET /exit?code=3 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert lab.exits.get(timeout=TIMEOUT_S) == 3
    with pytest.raises(ConnectionRefusedError):
        fetch(address)


def test_a_removed_container_is_gone_and_the_others_stay(lab):
    first = lab.add("hello-plain-text", name="one")["http"]
    key = lab.key
    second = lab.add("hello-plain-text", name="two")["http"]
    lab.service.remove(key)
    with pytest.raises(ConnectionRefusedError):
        fetch(first)
    assert "Server name: two" in fetch(second)[1]
    assert lab.exits.empty()


def test_ipv6_addresses_are_printed_as_each_program_does(lab):
    web, netexec = lab.add("hello-plain-text", host="::1")["http"], lab.add("netexec", host="::1")["http"]
    assert f"Server address: ::1:{web[1]}\n" in fetch(web)[1]
    assert fetch(netexec, "/clientip")[1].startswith("[::1]:")


def test_ports_come_from_the_flags():
    ports = HANDLERS["netexec"].ports
    assert ports(()) == (Port("http", "tcp", 8080), Port("udp", "udp", 8081))
    assert ports(("--http-port=80", "--udp-port", "-1")) == (Port("http", "tcp", 80),)
    for wrong in (("--http-port=x",), ("--nothing=1",), ("--udp-port",), ("shell",)):
        with pytest.raises(BadArguments):
            ports(wrong)


def test_a_taken_port_is_told_in_each_programs_words():
    taken = OSError(98, "Address already in use")
    words = HANDLERS["hello"].bind_failed(Port("http", "tcp", 80), taken)
    assert words.splitlines()[0] == "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)"
    words = HANDLERS["netexec"].bind_failed(Port("http", "tcp", 8080), taken)
    assert words.endswith("listen tcp :8080: bind: address already in use")


def test_a_request_cannot_forge_a_line_of_the_log_or_a_header(lab):
    raw(lab.add("hello")["http"], b'GET /"x HTTP/1.0\r\nUser-Agent: a\nb\r\n\r\n')
    (line,) = lab.log.read_text().splitlines()
    assert '"GET /\\x22x HTTP/1.0"' in line
    assert line.endswith('"a\\x0Ab" "-"')
    response, _ = fetch(lab.add("netexec")["http"], "/redirect?location=/a%0d%0aX-Forged:%201")
    assert response.getheader("X-Forged") is None


def test_a_server_that_ends_tells_what_it_served_and_the_next_container_gets_another(lab):
    lab.add("hello", name="web-0")
    first = lab.key
    lab.add("hello", name="web-1")
    lab.theirs[0].shutdown(socket.SHUT_RDWR)
    assert [lab.exits.get(timeout=TIMEOUT_S) for _ in range(2)] == [-signal.SIGKILL] * 2
    lab.service.remove(first)  # harmless
    again = lab.add("hello", name="web-0")
    assert fetch(next(iter(again.values())))[0].status == 200
    assert len(lab.threads) == 2
    assert lab.exits.empty()


def test_what_is_removed_while_its_server_ends_is_not_waited_for(lab):
    lab.add("hello")
    lab.theirs[0].shutdown(socket.SHUT_RDWR)
    remover = threading.Thread(target=lab.service.remove, args=(lab.key,))
    remover.start()
    remover.join(TIMEOUT_S)
    assert not remover.is_alive()


def test_without_a_server_that_starts_nothing_is_served(tmp_path):
    def fails():
        raise OSError("no more processes")

    service = WorkloadService(fails)
    with pytest.raises(OSError, match="no more processes"), open(tmp_path / "log", "wb") as log:
        service.add("pause", (), "web-0", (), log_fd=log.fileno(), on_exit=lambda _: None)
