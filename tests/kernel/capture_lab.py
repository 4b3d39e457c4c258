"""Two Pods at a bridge, made by hand: what captures and traces are tested on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emu.capture.frame import Capture
from emu.capture.recorder import Recorder, opener
from emu.kernel.netns import Netns, create, current, socket_in
from emu.kernel.process import run
from emu.plan.model import Role
from emu.trace.model import CapturePoint

Sandbox = Callable[[Callable[[], object]], object]

A = CapturePoint("a", "eth0", Role.POD_ETH, "default/a", "default/a")
VETH_A = CapturePoint("node1", "va", Role.HOST_VETH, "default/a", "node1")
CNI0 = CapturePoint("node1", "cni0", Role.BRIDGE, "node1", "node1")
VETH_B = CapturePoint("node1", "vb", Role.HOST_VETH, "default/b", "node1")
B = CapturePoint("b", "eth0", Role.POD_ETH, "default/b", "default/b")
POINTS = (A, VETH_A, CNI0, VETH_B, B)


class Lab:
    """a (10.0.0.1) and b (10.0.0.2) at cni0 (10.0.0.254), neighbors known, IPv6 off: nothing speaks unasked."""

    def __init__(self) -> None:
        self.netns: dict[str, Netns] = {"node1": current("node1")}
        self.ip("node1", "link add cni0 address 02:00:00:00:00:fe type bridge mcast_snooping 0")
        self.quiet("node1", "cni0")
        self.ip("node1", "addr add 10.0.0.254/24 dev cni0")
        self.ip("node1", "link set cni0 up")
        for number, name in enumerate("ab", 1):
            self._pod(name, number)
        self.server = socket_in(self.netns["b"], socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("10.0.0.2", 9))
        self.server.settimeout(5)

    def _pod(self, name: str, number: int) -> None:
        self.netns[name] = create(name)
        own, host = f"02:00:00:00:00:0{number}", f"02:00:00:00:01:0{number}"
        peer = f"peer name v{name} address {host} netns node1"
        self.ip(name, f"link add eth0 address {own} type veth {peer}")
        self.ip("node1", f"link set v{name} master cni0")
        self.quiet("node1", f"v{name}")
        self.quiet(name, "eth0")
        self.ip(name, f"addr add 10.0.0.{number}/24 dev eth0")
        self.ip("node1", f"link set v{name} up")
        self.ip(name, "link set eth0 up")
        self.ip(name, f"neigh add 10.0.0.{3 - number} lladdr 02:00:00:00:00:0{3 - number} dev eth0")
        self.ip(name, "neigh add 10.0.0.254 lladdr 02:00:00:00:00:fe dev eth0")
        self.ip("node1", f"neigh add 10.0.0.{number} lladdr {own} dev cni0")

    def ip(self, netns: str, words: str) -> None:
        run(["ip", *words.split()], ns=self.netns[netns])

    def quiet(self, netns: str, ifname: str) -> None:
        run(["sysctl", "-qw", f"net.ipv6.conf.{ifname}.disable_ipv6=1"], ns=self.netns[netns])

    @contextmanager
    def recording(self, *points: CapturePoint, **options: int) -> Iterator[tuple[Recorder, list[Capture]]]:
        recorder, result = Recorder(points or POINTS, opener(self.netns.__getitem__), **options), []
        yield recorder, result
        result.append(recorder.stop())

    def send(self, body: bytes, to: str = "10.0.0.2", netns: str = "a", count: int = 1) -> None:
        """Datagrams. They have passed every point when `sendto` returns, or very soon after."""
        with socket_in(self.netns[netns], socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(count):
                sock.sendto(body, (to, 9))

    def exchange(self, body: bytes) -> None:
        """A datagram from a to b that b has received."""
        self.send(body)
        assert self.server.recv(100) == body
