"""What the kernel answers about a flow, beside what the real tools print."""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import ip_address

import pytest
from capture_lab import Lab, Sandbox

from emu.kernel.netns import socket_in
from emu.kernel.process import run
from emu.kernel.tracing import FlowTrace, KernelLookup
from emu.trace.model import Flow, Headers

pytestmark = pytest.mark.root

CLIENT, VIP, SERVER, NODE = map(ip_address, ("10.0.0.1", "10.96.0.1", "10.0.0.2", "10.0.0.254"))
RULES = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SERVICES - [0:0]
-A PREROUTING -m comment --comment "service portals" -j SERVICES
-A OUTPUT -j SERVICES
-A SERVICES -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.9:8080
-A SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x4000/0x4000
-A SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A FORWARD -s 10.0.0.0/24 -j ACCEPT
-A INPUT -d 10.0.0.254/32 -p udp -m udp --dport 99 -j DROP
COMMIT
"""
DNAT = "-t nat -A SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080"
FIRST = (
    '-t nat -A PREROUTING -m comment --comment "service portals" -j SERVICES',
    "-t nat -A SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x4000/0x4000",
    DNAT,
    "-t filter -A FORWARD -s 10.0.0.0/24 -j ACCEPT",
    "-t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
)
#: The variant of iptables, and whether the kernel has nf_tables; where it has none, the trace does without.
TRACED = pytest.mark.parametrize(
    ("variant", "nf_tables"),
    [("nft", True), ("legacy", True), ("legacy", False)],
    ids=["nft", "legacy", "legacy without nf_tables"],
)


class RoutedLab(Lab):
    """a reaches b by a Service address, through the node, which masquerades."""

    def __init__(self, variant: str = "nft", rules: str = RULES) -> None:
        super().__init__()
        self.node = self.netns["node1"]
        for name in "ab":
            self.ip(name, "route add default via 10.0.0.254")
        run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], ns=self.node)
        run([f"iptables-{variant}-restore"], ns=self.node, stdin=rules)

    def request(self) -> int:
        """One TCP connection from a to the Service; the client's port."""
        with socket_in(self.netns["b"], socket.AF_INET, socket.SOCK_STREAM) as server:
            server.bind((str(SERVER), 8080))
            server.listen()
            with socket_in(self.netns["a"], socket.AF_INET, socket.SOCK_STREAM) as client:
                client.settimeout(5)
                client.connect((str(VIP), 80))
                connection, _ = server.accept()
                with connection:
                    client.sendall(b"hello")
                    assert connection.recv(10) == b"hello"
                return int(client.getsockname()[1])

    def prints(self, netns: str, command: str) -> str:
        """Without iptables-save's comments, which tell the time."""
        lines = run(command.split(), ns=self.netns[netns]).stdout.strip().splitlines()
        return "\n".join(line for line in lines if not line.startswith("#"))


def syn(src: object, dst: object, dport: int, note: str = "SYN") -> Headers:
    return Headers(src=ip_address(str(src)), dst=ip_address(str(dst)), proto="tcp", dport=dport, note=note)


@TRACED
def test_the_first_packet_names_every_rule_it_matched_in_order(sandbox: Sandbox, variant: str, nf_tables: bool) -> None:
    def inside() -> tuple[str, ...]:
        lab = RoutedLab(variant)
        with FlowTrace({"node1": lab.node}, "tcp", [CLIENT], variant=variant, nf_tables=nf_tables) as trace:
            lab.request()
            assert not trace.lost
        return trace.rules("node1", syn(CLIENT, VIP, 80))

    assert sandbox(inside) == FIRST


@TRACED
def test_from_where_the_address_was_rewritten_only_the_rules_after_it(
    sandbox: Sandbox, variant: str, nf_tables: bool
) -> None:
    def inside() -> tuple[str, ...]:
        lab = RoutedLab(variant)
        with FlowTrace({"node1": lab.node}, "tcp", [CLIENT], variant=variant, nf_tables=nf_tables) as trace:
            lab.request()
            return trace.rules("node1", syn(CLIENT, SERVER, 8080))

    assert sandbox(inside) == FIRST[3:]


def test_later_packets_do_not_cross_the_nat_table(sandbox: Sandbox) -> None:
    def inside() -> tuple[str, ...]:
        lab = RoutedLab()
        with FlowTrace({"node1": lab.node}, "tcp", [CLIENT]) as trace:
            lab.request()
            return trace.rules("node1", syn(CLIENT, VIP, 80, note="5 bytes"))

    assert sandbox(inside) == FIRST[3:4]


@TRACED
def test_the_rule_that_drops_a_packet_is_named(sandbox: Sandbox, variant: str, nf_tables: bool) -> None:
    def inside() -> tuple[str, ...]:
        lab = RoutedLab(variant)
        with FlowTrace({"node1": lab.node}, "udp", [CLIENT], variant=variant, nf_tables=nf_tables) as trace:
            with socket_in(lab.netns["a"], socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (str(NODE), 99))
            return trace.rules("node1", Headers(src=CLIENT, dst=NODE, proto="udp", dport=99))

    assert sandbox(inside) == (FIRST[0], "-t filter -A INPUT -d 10.0.0.254/32 -p udp -m udp --dport 99 -j DROP")


@TRACED
def test_a_policy_that_drops_is_named(sandbox: Sandbox, variant: str, nf_tables: bool) -> None:
    def inside() -> tuple[str, ...]:
        lab = RoutedLab(variant, "*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
        with FlowTrace({"node1": lab.node}, "udp", [CLIENT], variant=variant, nf_tables=nf_tables) as trace:
            with socket_in(lab.netns["a"], socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (str(NODE), 99))
            return trace.rules("node1", Headers(src=CLIENT, dst=NODE, proto="udp", dport=99))

    assert sandbox(inside) == ("-t filter -P INPUT DROP",)


def test_a_packet_made_on_the_node_is_traced_from_output_on(sandbox: Sandbox) -> None:
    def inside() -> tuple[str, ...]:
        lab = RoutedLab()
        lab.ip("node1", "route add default via 10.0.0.1")
        with FlowTrace({"node1": lab.node}, "tcp", [NODE]) as trace:
            with socket_in(lab.node, socket.AF_INET, socket.SOCK_STREAM) as client, pytest.raises(OSError):
                client.connect((str(VIP), 80))
            return trace.rules("node1", syn(NODE, VIP, 80))

    assert DNAT in sandbox(inside)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_trace_leaves_the_rules_as_they_were(sandbox: Sandbox, variant: str) -> None:
    def inside() -> None:
        lab = RoutedLab(variant)
        saved = "nft list ruleset", f"iptables-{variant}-save", "sysctl net.netfilter.nf_log.2"
        before = [lab.prints("node1", command) for command in saved]
        trace = FlowTrace({"node1": lab.node}, "tcp", [CLIENT], variant=variant)
        assert lab.prints("node1", saved[1]) == before[1]
        assert "nftrace set 1" in lab.prints("node1", saved[0])
        assert trace.close() == []
        assert [lab.prints("node1", command) for command in saved] == before

    sandbox(inside)


RAW = "*raw\n-A PREROUTING -p udp -j ACCEPT\n-A PREROUTING -s 10.0.0.1/32 -j ACCEPT\nCOMMIT\n"


def test_without_nf_tables_the_trace_is_at_the_head_of_raw_and_is_no_answer_itself(sandbox: Sandbox) -> None:
    def inside() -> list[tuple[str, ...]]:
        lab = RoutedLab("legacy", RAW)
        saved = ("iptables-legacy-save", "ip6tables-legacy-save", "sysctl net.netfilter.nf_log.2")
        before = [lab.prints("node1", command) for command in saved]
        asked = Headers(src=CLIENT, dst=NODE, proto="tcp", dport=99, note="SYN")
        outer = Headers(src=CLIENT, dst=NODE, proto="udp", dport=8472)
        trace = FlowTrace({"node1": lab.node}, "tcp", [CLIENT, NODE], outer=[outer], variant="legacy", nf_tables=False)
        with socket_in(lab.netns["a"], socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.connect_ex((str(NODE), 99))
        with socket_in(lab.netns["a"], socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (str(NODE), 8472))
        found = [trace.rules("node1", each) for each in (asked, outer)]
        assert lab.prints("node1", saved[0]) != before[0]
        assert trace.close() == []
        assert [lab.prints("node1", command) for command in saved] == before
        return [*found, trace.rules("node1", asked)]

    first = ("-t raw -A PREROUTING -s 10.0.0.1/32 -j ACCEPT",)
    assert sandbox(inside) == [first, ("-t raw -A PREROUTING -p udp -j ACCEPT",), first]


def test_a_flow_that_is_not_asked_for_is_not_traced(sandbox: Sandbox) -> None:
    def inside() -> tuple[str, ...]:
        lab = RoutedLab()
        with FlowTrace({"node1": lab.node}, "tcp", [ip_address("10.0.0.77")]) as trace:
            lab.request()
            return trace.rules("node1", syn(CLIENT, VIP, 80))

    assert sandbox(inside) == ()


VXLAN_LAB = (
    "link add flannel.1 address 02:00:00:00:0f:01 type vxlan id 1 local 10.0.0.254 dev cni0 dstport 8472 nolearning",
    "addr add 10.244.1.0/32 dev flannel.1",
    "link set flannel.1 up",
    "route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    "neigh add 10.244.2.0 lladdr 02:00:00:00:0f:02 dev flannel.1 nud permanent",
    "route add 10.7.0.0/16 via 10.0.0.1 proto static metric 50 src 10.0.0.254",
)


def vxlan_lab() -> RoutedLab:
    lab = RoutedLab()
    for words in VXLAN_LAB:
        lab.ip("node1", words)
    run(
        [
            *["bridge", "fdb", "add", "02:00:00:00:0f:02", "dev", "flannel.1", "dst"],
            "192.168.100.12",
            "self",
            "permanent",
        ],
        ns=lab.node,
    )
    return lab


@pytest.mark.parametrize(
    ("netns", "dst", "iif", "text"),
    [
        ("node1", "10.244.2.3", "", "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),
        ("node1", "10.244.2.3", "cni0", "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),
        ("node1", "10.7.1.1", "", "10.7.0.0/16 via 10.0.0.1 dev cni0 proto static src 10.0.0.254 metric 50"),
        ("node1", "10.0.0.2", "", "10.0.0.0/24 dev cni0 proto kernel scope link src 10.0.0.254"),
        ("a", "10.96.0.1", "", "default via 10.0.0.254 dev eth0"),
        ("node1", "10.0.0.254", "", "local 10.0.0.254 dev cni0 proto kernel scope host src 10.0.0.254"),
        ("node1", "8.8.8.8", "", ""),
    ],
)
def test_a_route_is_told_as_ip_route_prints_it(sandbox: Sandbox, netns: str, dst: str, iif: str, text: str) -> None:
    def inside() -> tuple[str, str]:
        lab = vxlan_lab()
        with KernelLookup(lab.netns.__getitem__) as lookup:
            src = CLIENT if iif else None
            found = lookup.route(netns, src, ip_address(dst), iif, 0, "tcp", 40000, 80)
        where = f" from {CLIENT} iif {iif}" if iif else ""
        printed = run(f"ip route get fibmatch {dst}{where}".split(), ns=lab.netns[netns], check=False).stdout
        return found, " ".join(printed.split())

    found, printed = sandbox(inside)
    assert found == printed == text


def test_neighbors_and_forwarding_entries_are_told_as_the_tools_print_them(sandbox: Sandbox) -> None:
    def inside() -> None:
        lab = vxlan_lab()
        lab.exchange(b"a and b are learned by the bridge")
        with KernelLookup(lab.netns.__getitem__) as lookup:
            neighbor = lookup.neighbor("node1", "flannel.1", ip_address("10.244.2.0"))
            entry = lookup.fdb("node1", "flannel.1", "02:00:00:00:0f:02")
            port = lookup.bridge_fdb("node1", "cni0", "02:00:00:00:00:01")
            own = lookup.bridge_fdb("node1", "cni0", "02:00:00:00:00:fe")
        assert neighbor == "10.244.2.0 dev flannel.1 lladdr 02:00:00:00:0f:02 PERMANENT"
        assert neighbor == lab.prints("node1", "ip neigh show dev flannel.1 10.244.2.0").replace(
            "10.244.2.0 ", "10.244.2.0 dev flannel.1 "
        )
        assert entry == "02:00:00:00:0f:02 dev flannel.1 dst 192.168.100.12 self permanent"
        assert port == "02:00:00:00:00:01 dev va master cni0"
        for text, dev in ((entry, "flannel.1"), (port, "va"), (own, "cni0")):
            shown = lab.prints("node1", f"bridge fdb show dev {dev}").splitlines()
            assert text.replace(f" dev {dev}", "") in [" ".join(line.split()) for line in shown]

    sandbox(inside)


def test_what_the_kernel_does_not_know_is_an_empty_answer(sandbox: Sandbox) -> None:
    def inside() -> list[object]:
        lab = RoutedLab()
        with KernelLookup(lab.netns.__getitem__) as lookup:
            nothing = Headers(src=CLIENT, dst=VIP, proto="udp", sport=1, dport=2)
            return [
                lookup.neighbor("node1", "cni0", ip_address("10.0.0.99")),
                lookup.neighbor("node1", "gone", ip_address("10.0.0.99")),
                lookup.fdb("node1", "gone", "02:00:00:00:00:99"),
                lookup.bridge_fdb("node1", "cni0", "02:00:00:00:00:99"),
                lookup.conntrack("node1", nothing),
                lookup.rules("node1", nothing),
            ]

    assert sandbox(inside) == ["", "", "", "", None, ()]


def test_a_policy_route_is_found_by_its_mark(sandbox: Sandbox) -> None:
    def inside() -> str:
        lab = RoutedLab()
        lab.ip("node1", "rule add fwmark 0x7 lookup 100")
        lab.ip("node1", "route add 10.9.0.0/16 via 10.0.0.1 table 100")
        with KernelLookup(lab.netns.__getitem__) as lookup:
            return lookup.route("node1", None, ip_address("10.9.0.1"), "", 7)

    assert sandbox(inside) == "10.9.0.0/16 via 10.0.0.1 dev cni0 table 100"


def test_a_connection_that_a_rst_has_ended_at_once_is_remembered(sandbox: Sandbox) -> None:
    """The kernel forgets it with the RST (tcp_packet, net/netfilter/nf_conntrack_proto_tcp.c)."""

    def inside() -> None:
        lab = RoutedLab()
        flow = Flow(netns="node1", dst=SERVER, proto="tcp", dport=9)
        with FlowTrace({"node1": lab.netns["node1"]}, "tcp", [SERVER]) as trace:
            with socket_in(lab.netns["node1"], socket.AF_INET, socket.SOCK_STREAM) as sock:
                assert sock.connect_ex((str(SERVER), 9)) == errno.ECONNREFUSED
                port = sock.getsockname()[1]
            with KernelLookup(lab.netns.__getitem__, trace) as lookup:
                (request,) = lookup.requests(flow)
        assert request.original == request.leaving
        assert (request.leaving.dst, request.leaving.sport) == (SERVER, port)

    sandbox(inside)


def without_timeout(entry: str) -> str:
    return re.sub(r"^(\w+ +\d+) \d+", r"\1", entry)


def test_every_packet_of_a_connection_finds_its_conntrack_entry(sandbox: Sandbox) -> None:
    def inside() -> None:
        lab = RoutedLab()
        port = lab.request()
        with KernelLookup(lab.netns.__getitem__) as lookup:

            def entry(src: object, sport: int, dst: object, dport: int) -> str:
                ends = {"src": ip_address(str(src)), "dst": ip_address(str(dst))}
                found = lookup.conntrack("node1", Headers(proto="tcp", sport=sport, dport=dport, **ends))
                return found.text if found else ""

            sent = entry(CLIENT, port, VIP, 80)
            (snat,) = re.findall(r"dport=(\d+) \[ASSURED\]", sent)
            others = [
                entry(NODE, int(snat), SERVER, 8080),
                entry(SERVER, 8080, NODE, int(snat)),
                entry(VIP, 80, CLIENT, port),
            ]
        assert f"src=10.0.0.1 dst=10.96.0.1 sport={port} dport=80 src=10.0.0.2 dst=10.0.0.254 sport=8080" in sent
        assert {without_timeout(other) for other in others} == {without_timeout(sent)}

    sandbox(inside)
