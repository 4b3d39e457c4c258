"""One request: predicted, sent, watched, explained."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from proving import failures, inside, shell, spelled

from emu.report.text import trace_text
from emu.testbed import tracing
from emu.testbed.facade import Testbed
from emu.trace.model import CauseKind, Leg, TraceResult
from emu.trace.predict import predict

pytestmark = pytest.mark.root
EMU = Path(tracing.__file__).parents[1]


def _imports(module: str, seen: set[str]) -> set[str]:
    """All modules of emu that `module` can reach, itself included."""
    path = EMU.parent.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not file.exists():
        return seen
    seen.add(module)
    for node in ast.walk(ast.parse(file.read_text())):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        for name in names:
            if name.startswith("emu"):
                _imports(name, seen)
    return seen


def test_the_prediction_cannot_see_the_capture_nor_the_kernel() -> None:
    reached = _imports("emu.trace.predict", set())
    assert "emu.trace.simulator" in reached
    assert [
        name for name in reached if re.match(r"emu\.(capture|kernel|testbed|report|trace\.(correlate|explain))", name)
    ] == []


def test_the_prediction_is_written_down_before_the_first_packet_leaves() -> None:
    def run(lab: Testbed) -> bool:
        assert lab.plan is not None
        foretold = []
        send = tracing.one_request

        def sending(flow, prediction, netns_of):  # type: ignore[no-untyped-def]
            foretold.append(prediction)
            return send(flow, prediction, netns_of)

        tracing.one_request = sending
        result = lab.trace("client", "web")
        assert foretold[0] is result.prediction
        return result.prediction == predict(lab.plan, result.prediction.flow)

    assert inside(run)


def _texts(leg: Leg, kind: CauseKind) -> list[str]:
    return [cause.text for hop in leg.hops for cause in hop.causes if cause.kind is kind]


def test_each_step_to_a_service_on_another_node_has_its_cause_read_from_the_kernel() -> None:
    def run(lab: Testbed) -> tuple[TraceResult, dict[str, str]]:
        return lab.trace("client", "nginx-svc"), spelled(lab)

    result, words = inside(run)
    forward, reply = result.observed.forward, result.observed.reply
    rules = _texts(forward, CauseKind.RULE)
    jumps = [
        r"-t nat -A PREROUTING .*-j KUBE-SERVICES$",
        r'-t nat -A KUBE-SERVICES -d 10\..*/32 -p tcp .*"default/nginx-svc:tcp cluster IP" .*80 -j KUBE-SVC-\w{16}$',
        r'-t nat -A KUBE-SVC-\w{16} .*"default/nginx-svc:tcp -> {nginx_ip}:80" -j {sep}$',
        r'-t nat -A {sep} -p tcp .*"default/nginx-svc:tcp" -m tcp -j DNAT --to-destination {nginx_ip}:80$',
        r'-t filter -A FLANNEL-FWD -s 10.244.0.0/16 .*"flanneld forward" -j ACCEPT$',
    ]
    wanted = [jump.replace("{sep}", words["sep"]).replace("{nginx_ip}", re.escape(words["nginx_ip"])) for jump in jumps]
    found = [next((at for at, rule in enumerate(rules) if re.match(pattern, rule)), None) for pattern in wanted]
    assert None not in found, (wanted, rules)
    assert found == sorted(found), "in the order in which the packet met them"
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in _texts(forward, CauseKind.ROUTE)
    assert f"10.244.2.0 dev flannel.1 lladdr {words['vtep2']} PERMANENT" in _texts(forward, CauseKind.NEIGHBOR)
    assert f"{words['vtep2']} dev flannel.1 dst 192.168.100.12 self permanent" in _texts(forward, CauseKind.FDB)
    (entry,) = _texts(reply, CauseKind.CONNTRACK)
    assert re.match(rf"tcp .*src=10.244.1.3 dst=10\..* dport=80 src={words['nginx_ip']} dst=10.244.1.3 sport=80", entry)
    undone = next(hop for hop in reply.hops if any(cause.text == entry for cause in hop.causes))
    assert str(undone.point) == "node1:flannel.1", (
        "the reply is translated back on the Node that translated the request"
    )


@dataclass(frozen=True)
class Ask:
    """`verdict` and `note`: how the request ends, and the first word of the answer ("": there is none)."""

    source: str
    target: str
    proto: str = ""
    verdict: str = "delivered"
    note: str = ""
    said: str = ""


ASKED = [
    Ask("client", "nginx-svc", note="SYN-ACK", said="connected"),
    Ask("client", "web:udp", note="", said="web-"),
    Ask("client", "{nginx}", note="echo reply", said="echo reply"),
    Ask("client", "{nginx}:81", note="RST", said="Connection refused"),
    Ask("client", "{nginx}:81", "udp", note="unreachable: port", said="Connection refused"),
    Ask("client2", "{nginx}:81", "udp", note="unreachable: port", said="Connection refused"),
    Ask("client", "node2:81", note="RST", said="Connection refused"),
    Ask("client", "kubernetes", note="RST", said="Connection refused"),
    Ask("node2", "kubernetes", note="RST", said="Connection refused"),
    Ask("client", "empty", verdict="rejected", note="unreachable: port", said="Connection refused"),
    Ask("node1", "node1", verdict="dropped", said="echo reply"),  # over lo, where nobody watches
    Ask("client", "10.244.2.77:80", verdict="rejected", note="unreachable: host", said="No route to host"),
    Ask("client", "nginx-svc", "icmp", verdict="rejected", note="unreachable: host", said="No route to host"),
    Ask("client", "8.8.8.8:53", "udp", verdict="rejected", note="unreachable: host", said="No route to host"),
]


def test_a_request_ends_as_predicted_whether_it_is_answered_or_not() -> None:
    def run(lab: Testbed) -> list[tuple[str, str, str, str]]:
        ended = []
        for ask in ASKED:
            result = lab.trace(ask.source, ask.target.format(**spelled(lab)), proto=ask.proto)
            reply = result.observed.reply
            wrong = "; ".join(failures((result,)))
            ended.append(
                (
                    wrong,
                    str(result.observed.forward.verdict),
                    reply.hops[0].inner.note if reply else "",
                    result.reply_text,
                )
            )
        return ended

    outcomes = inside(run)
    assert [wrong for wrong, *_ in outcomes if wrong] == []
    for ask, (_, verdict, note, said) in zip(ASKED, outcomes, strict=True):
        assert (ask, verdict, note) == (ask, ask.verdict, ask.note)
        assert said.startswith(ask.said), ask


COMMANDS = [
    ("nginx-svc", "tcp", "curl -s nginx-svc", "Server&nbsp;address|Server address"),
    ("nginx-svc", "tcp", "curl -s http://nginx-svc.default.svc.cluster.local/", "Server&nbsp;address|Server address"),
    ("web", "tcp", "curl -s http://web/hostname", "web-"),
    ("web:udp", "udp", "echo hostname | timeout 2 nc -u -W1 web 8081 || true", ""),
    ("kube-system/kube-dns:dns", "udp", "nslookup web", r"10\."),
    ("{nginx}", "icmp", "ping -c1 -W2 -M do -s 1380 {nginx_ip}", "1 received"),
]


def test_of_a_command_the_packets_to_the_target_are_followed_not_its_questions_to_dns() -> None:
    def run(lab: Testbed) -> list[tuple[str, str, str, int]]:
        words = spelled(lab)
        results = []
        for target, proto, command, _ in COMMANDS:
            argv = ["sh", "-c", command.format(**words)]
            result = lab.trace("client", target.format(**words), argv, proto)
            first = result.observed.forward.hops[0].inner
            results.append(("; ".join(failures((result,))), result.reply_text, first.proto, first.dport))
        return results

    outcomes = inside(run)
    assert [wrong for wrong, *_ in outcomes if wrong] == []
    assert [(proto, port) for *_, proto, port in outcomes] == [
        ("tcp", 80), ("tcp", 80), ("tcp", 80), ("udp", 8081), ("udp", 53), ("icmp", 0)
    ]  # fmt: skip
    for (_, _, command, said), (_, text, *_) in zip(COMMANDS, outcomes, strict=True):
        assert re.search(said, text), (command, text)


def test_a_command_that_sends_nothing_there_is_told_so() -> None:
    def run(lab: Testbed) -> TraceResult:
        return lab.trace("client", "nginx-svc", ["true"])

    result = inside(run)
    assert not result.ok
    assert re.match(r"the command sent no tcp packet to 10\.\S+:80", result.warnings[0])


def test_a_bridge_that_has_forgotten_a_mac_floods_and_the_path_is_still_the_predicted_one() -> None:
    def run(lab: Testbed) -> TraceResult:
        lab.trace("client", "nginx-svc")
        # As after five silent minutes: a neighbor entry, but no forwarding entry.
        shell(lab, "node2", "ip link set cni0 type bridge fdb_flush")
        return lab.trace("client", "nginx-svc")

    result = inside(run)
    assert result.ok, failures((result,))
    assert re.match(r"node2:cni0 had no entry for \S+ and sent copies to all ports", result.warnings[0])


def test_the_report_of_a_trace_names_every_place_and_every_reason() -> None:
    def run(lab: Testbed) -> tuple[str, dict[str, str]]:
        return trace_text(lab.trace("client", "nginx-svc"), color=False), spelled(lab)

    text, words = inside(run)
    places = re.findall(r"^ +\d+ ✓ (\S+)  (\S+) (\S+) ", text, re.M)
    way = [f"{name}:{ifname}" for name, _, ifname in places]
    nginx = f"default/{words['nginx']}:eth0"
    assert way[:3] == ["default/client:eth0", way[1], "node1:cni0"]
    assert way[3:12] == [
        "node1:flannel.1", "node1:eth0", "fabric:fabric-node1", "fabric:fabric-node2", "node2:eth0",
        "node2:flannel.1", "node2:cni0", f"node2:{words['nginx_veth']}", nginx,
    ]  # fmt: skip
    assert way[12:] == way[:12][::-1], "the reply goes the same way back"
    assert re.search(r"PREROUTING → KUBE-SERVICES → KUBE-SVC-\w+ → " + words["sep"], text)
    assert max(map(len, text.splitlines())) <= 100
