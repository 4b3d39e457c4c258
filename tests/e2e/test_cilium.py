"""Cilium in running labs: every path, what is taken away and named, what sockets see, what a killed testbed leaves."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import machine
import pytest
from inside import apply, ask, opened, out, run, wait_until
from labs import TWO_NODES, Labs

from emu.api.objects import Deployment, Service
from emu.kernel.netns import socket_in
from emu.plan.ebpf import MapEntry
from emu.plan.model import Changes, NetnsChange
from emu.report.bpf import LISTINGS, table
from emu.report.text import trace_text
from emu.testbed.facade import Testbed
from tests.kernel import leaks

pytestmark = pytest.mark.root

FOLDERS = TWO_NODES.parent
NAME = "two-node-cilium"


def vip(lab: Testbed, name: str) -> str:
    service = lab.get((Service.KIND, "default", name))
    assert isinstance(service, Service)
    return service.spec.cluster_ip


def verified(lab: Testbed) -> list[str]:
    assert [str(each) for each in lab.check()] == []
    return [trace_text(each, color=False) for each in lab.verify() if not each.ok]


@pytest.mark.parametrize("folder", [NAME, "two-node-cilium-native"])
def test_every_path_is_as_predicted(testbed: Labs, folder: str) -> None:
    assert testbed(verified, topology=FOLDERS / folder) == []


def deleted(lab: Testbed, node: str, name: str, fits: Callable[[MapEntry], bool]) -> None:
    """An entry, behind the testbed's back."""
    assert lab.plan is not None
    netns = lab.plan.netns[node]
    found = tuple(each for each in netns.maps if each.map == name and fits(each))
    assert len(found) == 1
    gone = NetnsChange(name=node, old=netns, new=netns, removed=found)
    lab.host.kernel.apply(Changes(netns=(gone,)), lab.plan)


def test_an_entry_that_is_missing_is_named_although_the_packet_arrives_and_is_mended(testbed: Labs) -> None:
    """Without the Pod's own entry the one of its Node's range leads to the same Node, for another identity."""

    def broken(lab: Testbed) -> tuple[str, list[str], list[str], bool]:
        def of_client2(entry: MapEntry) -> bool:
            return entry.key == (IPv4Network(out(lab, "client2", "hostname -i").strip()),)

        deleted(lab, "node1", "cilium_ipcache", of_client2)
        result = lab.trace("client", "client2", proto="icmp")
        assert result.difference is not None
        drift = [str(each) for each in lab.check(repair=True)]
        return result.difference.what, list(result.drift), drift, lab.trace("client", "client2", proto="icmp").ok

    what, told, drift, mended = testbed(broken, topology=FOLDERS / NAME)
    assert "no program found the expected entry: cil_from_container: cilium_ipcache" in what
    assert told == drift and "node1: map cilium_ipcache, key 10.244.2.3/32: missing" in drift[0]
    assert mended


def test_a_service_that_is_missing_in_the_maps_is_an_address_like_any_other(testbed: Labs) -> None:
    def broken(lab: Testbed) -> tuple[str, str, bool]:
        address = IPv4Address(vip(lab, "nginx-svc"))
        deleted(lab, "node1", "cilium_lb4_services_v2", lambda each: each.key[:3] == (address, 80, 0))
        result = lab.trace("client", "nginx-svc")
        assert result.difference is not None
        lab.check(repair=True)
        return result.difference.what, result.drift[0], lab.trace("client", "nginx-svc").ok

    what, drift, mended = testbed(broken, topology=FOLDERS / NAME)
    assert "forward hop 1: at default/client:eth0: expected dst 10.244.2.4" in what
    assert "node1: map cilium_lb4_services_v2, key 10.106.18.120:80/TCP (0): missing" in drift
    assert mended


AFFINE = """
apiVersion: v1
kind: Service
metadata: {name: affine}
spec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{port: 8081, protocol: UDP}]}
"""


def test_what_sockets_see_of_services(testbed: Labs) -> None:
    def seen(lab: Testbed) -> None:
        apply(lab, AFFINE)
        a_program_sees_the_services_address(lab)
        a_client_with_session_affinity_keeps_its_backend(lab)
        sockets_that_are_not_the_labs_pass_untouched(lab)
        the_listings_are_read_from_the_kernel(lab)
        connecting_fails_at_once_where_there_is_no_backend(lab)

    testbed(seen, topology=FOLDERS / NAME)


def a_program_sees_the_services_address(lab: Testbed) -> None:
    web = vip(lab, "web")
    with opened(lab, "client", socket.SOCK_STREAM) as tcp:
        tcp.connect((web, 80))
        assert tcp.getpeername() == (web, 80)
    with opened(lab, "client", socket.SOCK_DGRAM) as udp:  # not connected: each datagram is asked about
        udp.sendto(b"hostname", (web, 8081))
        answer, sender = udp.recvfrom(4096)
        assert sender == (web, 8081) and answer.startswith(b"web-")


def a_client_with_session_affinity_keeps_its_backend(lab: Testbed) -> None:
    """Twenty times the same of two, by chance: once in 500,000 runs."""
    once, both = (
        {ask(lab, "client", vip(lab, name), 8081, "hostname") for _ in range(20)} for name in ("affine", "web")
    )
    assert (len(once), len(both)) == (1, 2)


def sockets_that_are_not_the_labs_pass_untouched(lab: Testbed) -> None:
    """Of the switches' namespace, in the same cgroup as all of it: the program would say No route to host."""
    with socket_in(lab.host.netns("fabric"), socket.AF_INET, socket.SOCK_STREAM, 0) as sock:
        assert sock.connect_ex((vip(lab, "empty"), 80)) == errno.ENETUNREACH
    with opened(lab, "client", socket.SOCK_STREAM) as sock:
        assert sock.connect_ex((vip(lab, "empty"), 80)) == errno.EHOSTUNREACH


def the_listings_are_read_from_the_kernel(lab: Testbed) -> None:
    with opened(lab, "client", socket.SOCK_STREAM) as sock:
        sock.connect((vip(lab, "nginx-svc"), 80))
    found = {kind: table(kind, lab.entries(each.maps, "node1")["node1"]) for kind, each in LISTINGS.items()}
    assert "10.244.1.1:0       (localhost)\n" in found["endpoint"]
    assert re.search(r"10\.106\.18\.120:80/TCP \(1\) +10\.244\.2\.4:80/TCP \(\d+\) \(1\)\n", found["lb"])
    assert re.search(r"10\.244\.2\.3/32 +identity=31143 .* tunnelendpoint=192\.168\.100\.12", found["ipcache"])
    assert re.search(
        r"TCP OUT 10\.244\.1\.3:\d+ -> 10\.244\.2\.4:80 expires=\d+ Packets=\d+ Bytes=\d+ RxFlagsSeen=0x1[23b] .*"
        r" Flags=0x001[0-3] \[ .*SeenNonSyn \] RevNAT=0 SourceSecurityID=31143 BackendID=0\n",
        found["ct"],
    )
    assert "ICMP OUT 10.244.1.3:0 -> 10.244.2.4:0 related expires=" in found["ct"]


def connecting_fails_at_once_where_there_is_no_backend(lab: Testbed) -> None:
    def error() -> int:
        with opened(lab, "client", socket.SOCK_STREAM) as sock:
            return sock.connect_ex((vip(lab, "nginx-svc"), 80))

    lab.scale((Deployment.KIND, "default", "nginx-hello"), 0)
    wait_until(lambda: error() == errno.EHOSTUNREACH, "connect() says No route to host")
    lab.scale((Deployment.KIND, "default", "nginx-hello"), 3)
    wait_until(lambda: not error(), "connect() succeeds")
    lab.wait_ready(8)
    assert [str(each) for each in lab.check()] == []


def test_a_pod_that_sends_from_an_address_that_is_not_its_own_is_not_heard(testbed: Labs) -> None:
    def spoofed(lab: Testbed) -> tuple[int, int]:
        out(lab, "client", "ip address add 10.244.9.9/32 dev eth0")
        pings = (f"ping -c1 -W1 -I {source} 10.244.2.3" for source in ("10.244.1.3", "10.244.9.9"))
        good, bad = (run(lab, "client", ping).code for ping in pings)
        return good, bad

    assert testbed(spoofed, topology=FOLDERS / NAME) == (0, 1)


def test_whoever_sends_an_error_about_a_masqueraded_packet_is_heard_by_the_pod(testbed: Labs, tmp_path: Path) -> None:
    """From a router on the way, about TCP, UDP and echo requests, and from the end; that the error's checksums are
    right the Pod's kernel says, which drops it if they are not."""
    narrow = (FOLDERS / "two-racks-flannel-vxlan-narrow-rack" / "topology.yaml").read_text()
    narrow = narrow.replace("cni: flannel-vxlan\nproxy: iptables", "cni: cilium").replace("..", str(FOLDERS))
    (tmp_path / "topology.yaml").write_text(narrow)

    def seen(lab: Testbed) -> None:
        assert "Time to live exceeded" in out(lab, "client", "ping -c1 -W2 -t2 192.168.101.13 || true")
        for proto in ("icmp", "udp"):
            target = "192.168.101.13:99" if proto == "udp" else "192.168.101.13"
            long = lab.trace("client", target, proto=proto, size=1420, df=True)
            assert (long.ok, long.reply_text) == (True, "fragmentation needed, mtu 1400"), trace_text(long, color=False)
        closed = lab.trace("client", "192.168.101.13:99", proto="udp")
        assert (closed.ok, closed.reply_text) == (True, "Connection refused"), trace_text(closed, color=False)
        with opened(lab, "client", socket.SOCK_STREAM) as tcp:
            tcp.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)
            tcp.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            assert tcp.connect_ex(("192.168.101.13", 99)) == errno.EHOSTUNREACH

    testbed(seen, topology=tmp_path)


@machine.on_a_machine
def test_a_killed_testbed_leaves_no_program_no_map_and_no_link_to_a_cgroup() -> None:
    before = leaks.snapshot()
    machine.emu("up", str(FOLDERS / NAME))
    assert sum(line.startswith("link") for line in leaks.snapshot().bpf - before.bpf) == 4
    machine.kill(name=NAME)
    leaks.nothing_left(before)


@machine.on_a_machine
def test_a_testbed_that_is_taken_down_leaves_nothing_either() -> None:
    before = leaks.snapshot()
    machine.emu("up", str(FOLDERS / NAME))
    machine.emu("down")
    leaks.nothing_left(before)
