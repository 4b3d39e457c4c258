"""tunl0, by whoever realises it on this kernel: the bytes on the wire, what captures show, drift, MTU, what is left."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network

import ipip_lab
import pytest
from ipip_lab import BY, MTU

from emu.capture.decode import records
from emu.capture.points import points
from emu.capture.recorder import Recorder, opener
from emu.kernel import process
from emu.kernel.apply import Kernel
from emu.kernel.netns import socket_in
from emu.plan.diff import diff
from emu.plan.drift import drift
from emu.plan.model import Changes, IpipBy, NetnsChange, Plan, Route
from emu.report.text import trace_text
from emu.testbed.tracing import trace
from emu.trace.model import CauseKind, Direction, Flow, PacketRecord

pytestmark = pytest.mark.root
Sandbox = Callable[[Callable[[], object]], object]
ECN = 3


def ebpf(test: Callable[..., None]) -> Callable[..., None]:
    skip = pytest.mark.skipif(BY is not IpipBy.EBPF, reason="the ipip module is loaded: nothing is realised by eBPF")
    return pytest.mark.ebpf(skip(test))  # type: ignore[no-any-return]


@pytest.fixture(autouse=True, params=[BY], ids=str)
def by(request: pytest.FixtureRequest) -> IpipBy:
    """Who realises tunl0, in the name of each test: by `make test-vm` all run with the module and without."""
    return request.param  # type: ignore[no-any-return]


def up(plan: Plan | None = None) -> Kernel:
    kernel = Kernel("lab")
    wanted = plan or ipip_lab.plan()
    kernel.apply(diff(None, wanted), wanted)
    return kernel


def ping(kernel: Kernel, netns: str, *words: str) -> str:
    done = process.run(["ping", "-c1", "-W2", *words], ns=kernel.netns(netns), check=False)
    return "" if done.code == 0 else done.stdout + done.stderr


def recorded(kernel: Kernel, act: Callable[[], object], plan: Plan | None = None) -> list[PacketRecord]:
    recorder = Recorder(points(plan or ipip_lab.plan(), ["all"]), opener(kernel.netns))
    act()
    recorder.settle()
    return [each for each in records(recorder.stop().frames) if each.inner]


def places(seen: Sequence[PacketRecord]) -> list[str]:
    return [
        f"{'>' if each.direction is Direction.IN else ''}{each.point}{'' if each.direction is Direction.IN else '>'}"
        f"{' in IPIP' if each.encapsulation else ''}"
        for each in seen
        if each.point.role != "fabric"
    ]


@pytest.mark.parametrize(("source", "target"), [("default.p1", "10.244.2.1"), ("node1", "10.244.2.1")])
def test_the_path_is_as_predicted_and_the_tunnel_is_named_as_a_cause(
    sandbox: Sandbox, source: str, target: str
) -> None:
    def run() -> tuple[str, list[str]]:
        kernel, plan = up(), ipip_lab.plan()
        result = trace(plan, Flow(netns=source, dst=ip_address(target), proto="icmp"), kernel.netns)
        hops = (*result.observed.forward.hops, *(result.observed.reply.hops if result.observed.reply else ()))
        causes = [each for hop in hops for each in hop.causes if each.kind is CauseKind.TUNNEL]
        assert all(each.text.startswith("filter protocol" if BY is IpipBy.EBPF else "tunl0: ") for each in causes)
        return "" if result.ok else trace_text(result, color=False), [each.effect for each in causes if each.text]

    there, back = ["IPIP to 192.168.100.12"], ["IPIP to 192.168.100.11"]
    off = ["IPIP taken off by tunl0"] if BY is IpipBy.EBPF else []
    assert sandbox(run) == ("", [*there, *off, *back, *off])


def test_a_packet_is_seen_at_every_hop_and_in_an_outer_header_between_the_nodes(sandbox: Sandbox) -> None:
    def run() -> list[str]:
        kernel = up()
        return places(recorded(kernel, lambda: ping(kernel, "default.p1", "10.244.2.1")))[:8]

    assert sandbox(run) == [
        "default/p1:eth0>",
        ">node1:cali1",
        "node1:tunl0>",
        "node1:eth0> in IPIP",
        ">node2:eth0 in IPIP",
        ">node2:tunl0",
        "node2:cali2>",
        ">default/p2:eth0",
    ]


def between_nodes(kernel: Kernel, *ping_words: str) -> bytes:
    """The first packet of a ping as it comes to node2, from its outer header on."""
    with socket_in(kernel.netns("node2"), socket.AF_PACKET, socket.SOCK_DGRAM) as wire:
        wire.bind(("eth0", 3))  # all: what is for one protocol alone is given out behind tc
        wire.settimeout(2)
        ping(kernel, "default.p1", *ping_words, "10.244.2.1")
        while True:
            packet, where = wire.recvfrom(65536)
            if where[1] == 0x0800 and packet[9] == 4:
                return packet


def test_the_outer_header_is_the_modules(sandbox: Sandbox) -> None:
    """TTL as the inner one has it behind the Node, DF copied, TOS 0 but for ECN, protocol 4, the gateway as
    destination, a right checksum."""

    def run() -> list[tuple[object, ...]]:
        kernel = up()
        asked = (["-M", "do"], ["-M", "dont"], ["-t", "7"], ["-Q", "0xfe"], ["-Q", "0x03"])
        return [described(between_nodes(kernel, *words)) for words in asked]

    ends = ("192.168.100.11", "192.168.100.12")
    assert sandbox(run) == [
        (*ends, 4, 63, True, 0x00, 0, 104),
        (*ends, 4, 63, False, 0x00, 0, 104),
        (*ends, 4, 6, True, 0x00, 0, 104),
        (*ends, 4, 63, True, 0x02, 0, 104),
        (*ends, 4, 63, True, 0x02, 0, 104),  # "congestion experienced" is not told outside
    ]


def described(packet: bytes) -> tuple[object, ...]:
    """source, destination, protocol, TTL, DF, TOS, sum over the header (0: right), length"""
    _, tos, length, _, cut, ttl, proto, _, src, dst = struct.unpack_from("!BBHHHBBH4s4s", packet)
    total = sum(struct.unpack("!10H", packet[:20]))
    wrong = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    return (str(ip_address(src)), str(ip_address(dst)), proto, ttl, bool(cut & 0x4000), tos, wrong, length)


def test_a_mark_of_congestion_outside_comes_inside_to_who_understands_it(sandbox: Sandbox) -> None:
    """An outer CE, on an inner packet with ECT(0) and on one without ECN: the latter is dropped (RFC 6040, 4.2)."""

    def run() -> list[int]:
        kernel = up()
        heard = socket_in(kernel.netns("default.p2"), socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        heard.bind(("eth0", 0x0800))
        heard.settimeout(0.5)
        with socket_in(kernel.netns("node1"), socket.AF_INET, socket.SOCK_RAW, 4) as raw:
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ECN)
            for tos in (2, 0):
                raw.sendto(udp(tos), ("192.168.100.12", 0))
        found = []
        with suppress(TimeoutError):
            while True:
                found.append(heard.recv(2000)[1] & ECN)
        return found

    assert sandbox(run) == [ECN]


def udp(tos: int) -> bytes:
    ends = ip_address("10.244.1.1").packed + ip_address("10.244.2.1").packed
    head = struct.pack("!BBHHHBBH", 0x45, tos, 28, 7, 0, 9, 17, 0) + ends
    total = sum(struct.unpack("!10H", head))
    check = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    return head[:10] + struct.pack("!H", check) + head[12:] + struct.pack("!HHHH", 1000, 9, 8, 0)


def test_a_nodes_own_packet_has_the_tunnels_address(sandbox: Sandbox) -> None:
    def run() -> tuple[str, str]:
        kernel = up()
        seen = recorded(kernel, lambda: ping(kernel, "node1", "10.244.2.1"))
        at_pod = next(each for each in seen if each.point.netns == "default.p2")
        assert at_pod.inner is not None
        return str(at_pod.inner.src), str(at_pod.inner.ttl)

    assert sandbox(run) == ("10.244.1.0", "63")


def test_the_gateway_of_the_route_decides_where_a_packet_goes(sandbox: Sandbox) -> None:
    """As by the module: no table of the tunnel's own has to follow the routes."""
    one = Route(dst=ip_network("10.244.2.1/32"), via=ip_address("192.168.100.77"), dev="tunl0", onlink=True)

    def run() -> list[str]:
        kernel = up()
        plan = ipip_lab.plan()
        change = NetnsChange(name="node1", old=plan.netns["node1"], new=plan.netns["node1"], added=(one,))
        kernel.apply(Changes(netns=(change,)), plan)
        return [str(each) for each in asked_for(kernel)]

    assert sandbox(run) == ["192.168.100.77"]


def asked_for(kernel: Kernel) -> set[object]:
    """For whose MAC node1 asks while its Pod sends."""
    with socket_in(kernel.netns("node2"), socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0806)) as wire:
        wire.bind(("eth0", 0x0806))
        wire.settimeout(2)
        ping(kernel, "default.p1", "10.244.2.1")
        return {ip_address(wire.recv(100)[24:28])}


def test_the_longest_packet_fits_and_a_longer_one_is_told_what_fits(sandbox: Sandbox) -> None:
    wide = ipip_lab.plan()
    wide = replace(
        wide,
        netns={
            name: replace(
                each,
                links=tuple(
                    replace(link, mtu=1500) if link.name.startswith("cali") or each.kind == "pod" else link
                    for link in each.links
                ),
            )
            for name, each in wide.netns.items()
        },
    )

    def run() -> list[str]:
        kernel = up(wide)
        sizes = ("1452", "1453")
        said = [ping(kernel, "default.p1", "-M", "do", "-s", size, "10.244.2.1") for size in sizes]
        pieces = ping(kernel, "default.p1", "-M", "dont", "-s", "4000", "10.244.2.1")
        return [said[0], "Frag needed and DF set (mtu = 1480)" if "mtu = 1480" in said[1] else said[1], pieces]

    assert sandbox(run) == ["", "Frag needed and DF set (mtu = 1480)", ""]


def test_bulk_tcp_arrives_whole(sandbox: Sandbox) -> None:
    """In packets of up to 64 KB, which are cut nowhere on the way: tunl0 and eth0 see as many as the Pod sent."""
    data = bytes(range(256)) * (1 << 16)
    segments = len(data) / MTU

    def run() -> tuple[bool, list[float]]:
        kernel = up()
        with (
            socket_in(kernel.netns("default.p2"), socket.AF_INET, socket.SOCK_STREAM) as server,
            socket_in(kernel.netns("default.p1"), socket.AF_INET, socket.SOCK_STREAM) as client,
        ):
            server.bind(("10.244.2.1", 5001))
            server.listen()
            client.settimeout(20)
            client.connect(("10.244.2.1", 5001))
            peer, _ = server.accept()
            sending = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
            sending.start()
            with peer, peer.makefile("rb") as stream:
                same = stream.read() == data
            return same, [sent(kernel, dev) / segments for dev in ("tunl0", "eth0")]

    same, shares = sandbox(run)  # type: ignore[misc]
    assert same and all(share < 0.5 for share in shares), shares


def sent(kernel: Kernel, dev: str) -> int:
    """How many packets node1 gave to a device. A tunl0 by eBPF drops them all, behind where captures are made."""
    shown = process.run(["ip", "-j", "-s", "link", "show", dev], ns=kernel.netns("node1")).stdout
    counted = json.loads(shown)[0]["stats64"]["tx"]
    return int(counted["packets"]) + int(counted["dropped"])


def test_tunl0_has_the_settings_of_the_real_one(sandbox: Sandbox) -> None:
    def run() -> tuple[object, ...]:
        kernel = up()
        shown = process.run(["ip", "-j", "-d", "address", "show", "tunl0"], ns=kernel.netns("node1")).stdout
        (link,) = json.loads(shown)
        (address,) = [each for each in link["addr_info"] if each["family"] == "inet"]
        flags = {"NOARP", "UP", "LOWER_UP"} <= set(link["flags"]) and "MULTICAST" not in link["flags"]
        return link["link_type"], link["mtu"], link["txqlen"], flags, address["local"], address["prefixlen"]

    assert sandbox(run) == ("ipip", 1480, 1000, True, "10.244.1.0", 32)


def test_what_was_applied_is_no_drift(sandbox: Sandbox) -> None:
    def run() -> list[str]:
        kernel = up()
        return [str(each) for netns in ipip_lab.plan().netns.values() for each in drift(netns, kernel.read(netns))]

    assert sandbox(run) == []


def mended(command: str) -> Callable[[], tuple[list[str], str, str, list[str]]]:
    """What is found after a command on node1, whether Pods reach each other then, and after the repair."""

    def run() -> tuple[list[str], str, str, list[str]]:
        kernel, plan = up(), ipip_lab.plan()
        node1 = plan.netns["node1"]
        process.run(["sh", "-c", command], ns=kernel.netns("node1"))
        found = drift(node1, kernel.read(node1))
        broken = "no answer" if ping(kernel, "default.p1", "10.244.2.1") else "answer"
        kernel.repair(found)
        left = drift(node1, kernel.read(node1))
        after = "no answer" if ping(kernel, "default.p1", "10.244.2.1") else "answer"
        return [str(each) for each in found], broken, after, [str(each) for each in left]

    return run


ROUTE = "node1: route 10.244.2.0/26: missing: 10.244.2.0/26 via 192.168.100.12 dev tunl0 proto bird onlink"


@pytest.mark.parametrize(
    ("command", "found", "broken"),
    [
        ("ip link set tunl0 mtu 1400", ["node1: link tunl0: wanted mtu 1480, got mtu 1400"], "answer"),
        ("ip link set tunl0 down", ["node1: link tunl0: wanted up, got down"], "no answer"),
        ("ip route del 10.244.2.0/26", [ROUTE], "no answer"),
    ],
)
def test_what_is_broken_is_found_and_mended(sandbox: Sandbox, command: str, found: list[str], broken: str) -> None:
    assert sandbox(mended(command)) == (found, broken, "answer", [])


ENCAP = (
    "node1: tc filter tunl0 egress: missing: filter protocol all pref 1 bpf chain 0 handle 0x1 ipip_encap direct-action"
)
DECAP = (
    "node1: tc filter eth0 ingress: missing: filter protocol ip pref 1 bpf chain 0 handle 0x1 ipip_decap direct-action"
)


@ebpf
@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("tc filter del dev tunl0 egress", [ENCAP]),
        ("tc qdisc del dev eth0 clsact", [DECAP]),
        ("ip link del tunl0", ["node1: link tunl0: missing: tunl0 mtu 1480 up"]),
    ],
)
def test_programs_and_devices_taken_away_are_found_and_mended(sandbox: Sandbox, command: str, found: list[str]) -> None:
    assert sandbox(mended(command)) == (found, "no answer", "answer", [])


@ebpf
def test_programs_go_with_their_node(sandbox: Sandbox) -> None:
    def run() -> int:
        kernel = up()
        (encap, _) = kernel.read(ipip_lab.plan().netns["node1"]).programs
        assert encap.name == "ipip_encap"
        return len(kernel.close())

    assert sandbox(run) == 0
