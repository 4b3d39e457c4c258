"""Every kind of path: predicted from the plan, then sent over the kernel's own networks and captured at every point."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from emu.capture.decode import records
from emu.capture.points import points
from emu.capture.recorder import Recorder, opener
from emu.kernel import process
from emu.kernel.apply import Kernel
from emu.kernel.netns import socket_in
from emu.kernel.tracing import FlowTrace, KernelLookup
from emu.plan.diff import diff
from emu.plan.model import NetnsKind, Plan
from emu.report.text import trace_text
from emu.trace.compare import compare
from emu.trace.correlate import correlate
from emu.trace.explain import explain
from emu.trace.model import CauseKind, Flow, TraceResult
from emu.trace.predict import predict

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "trace"))
from trace_plans import cluster, without

pytestmark = pytest.mark.root
Sandbox = Callable[[Callable[[], object]], object]


def flow(src: str, dst: str, dport: int = 80, proto: str = "tcp") -> Flow:
    return Flow(netns=src, dst=ip_address(dst), proto=proto, dport=dport, label=f"{src} → {dst}:{dport}")


KINDS = (
    flow("default.a2", "10.244.1.3", 8080),
    flow("default.a2", "10.244.1.3", 0, "icmp"),
    flow("default.a2", "10.244.2.2", 8080),
    flow("default.a2", "10.244.2.2", 53, "udp"),
    flow("default.a2", "10.244.2.2", 0, "icmp"),
    flow("default.a2", "10.244.2.2", 82),
    flow("default.a2", "10.244.2.2", 82, "udp"),
    flow("default.a2", "10.96.0.5"),
    flow("default.a2", "10.96.0.5"),
    flow("default.a2", "10.96.0.5"),
    flow("default.a2", "10.96.0.6"),
    flow("default.a2", "10.96.0.6"),
    flow("default.a2", "10.96.0.10", 53, "udp"),
    flow("default.a2", "10.96.0.9"),
    flow("default.a2", "10.96.0.1", 443),
    flow("default.b2", "10.96.0.1", 443),
    flow("default.a2", "10.244.1.1", 0, "icmp"),
    flow("default.a2", "192.168.100.12", 0, "icmp"),
    flow("default.a2", "192.168.100.12", 10250),
    flow("node1", "10.244.1.2", 8080),
    flow("node1", "10.244.2.2", 8080),
    flow("node1", "10.244.2.2", 0, "icmp"),
    flow("node1", "10.96.0.5"),
    flow("node1", "10.96.0.5"),
    flow("node1", "10.96.0.5"),
    flow("node1", "10.96.0.6"),
    flow("node1", "10.96.0.10", 53, "udp"),
)
SLOW = (flow("default.a2", "10.244.2.77", 0, "icmp"), flow("default.a2", "9.9.9.9", 80))
BACKENDS = [
    (ip_address(address), port)
    for address, port in (
        ("10.244.1.3", 8080),
        ("10.244.2.2", 8080),
        ("10.244.1.2", 8080),
        ("10.244.2.2", 53),
        ("192.168.100.11", 6443),
    )
]


class Lab:
    """The cluster in the kernel, with something behind every port it declares."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.kernel = Kernel("lab")
        self.kernel.apply(diff(None, plan), plan)
        for name, netns in plan.netns.items():
            if netns.kind is NetnsKind.POD:
                self._serve(name)

    def _serve(self, netns: str) -> None:
        tcp = socket_in(self.kernel.netns(netns), socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind(("0.0.0.0", 8080))
        tcp.listen()
        udp = socket_in(self.kernel.netns(netns), socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", 53))
        threading.Thread(target=_answer, args=(udp,), daemon=True).start()
        self.kept = [*getattr(self, "kept", ()), tcp, udp]

    def trace(self, asked: Flow) -> TraceResult:
        prediction = predict(self.plan, asked)
        nodes = {n: self.kernel.netns(n) for n, p in self.plan.netns.items() if p.kind is NetnsKind.NODE}
        clients = {hop.inner.src for path in prediction.paths for hop in path.forward.hops}
        clients |= {address.address.ip for address in self.plan.netns[asked.netns].addresses}
        with FlowTrace(nodes, asked.proto, clients) as rules:
            recorder = Recorder(points(self.plan), opener(self.kernel.netns))
            self._send(asked)
            found = records(recorder.stop().frames)
        with KernelLookup(self.kernel.netns, rules) as lookup:
            seen = correlate(found, asked, [each.leaving for each in lookup.requests(asked)])
            observed = explain(seen, self.plan, lookup)
        matched, difference = compare(prediction, observed)
        return TraceResult(flow=asked, prediction=prediction, observed=observed, matched=matched, difference=difference)

    def _send(self, asked: Flow) -> None:
        if asked.proto == "icmp":
            argv = ["ping", "-c1", "-W4", str(asked.dst)]
            process.run(argv, ns=self.kernel.netns(asked.netns), check=False)
            return
        kind = socket.SOCK_STREAM if asked.proto == "tcp" else socket.SOCK_DGRAM
        with socket_in(self.kernel.netns(asked.netns), socket.AF_INET, kind) as sock, suppress(OSError):
            sock.settimeout(4)
            sock.connect((str(asked.dst), asked.dport))
            if asked.proto == "udp":
                sock.send(b"question")
                sock.recv(100)


def _answer(udp: socket.socket) -> None:
    while True:
        data, client = udp.recvfrom(2000)
        udp.sendto(b"answer to " + data, client)


def failures(flows: tuple[Flow, ...]) -> list[str]:
    lab = Lab(cluster())
    results = [lab.trace(asked) for asked in flows]
    return [trace_text(result, color=False) for result in results if not result.ok]


def test_every_kind_of_path_is_as_predicted(sandbox: Sandbox) -> None:
    assert "\n".join(sandbox(lambda: failures(KINDS))) == ""


@pytest.mark.slow
def test_where_nobody_answers_is_as_predicted(sandbox: Sandbox) -> None:
    assert "\n".join(sandbox(lambda: failures(SLOW))) == ""


def test_without_br_netfilter_the_answer_passes_by_the_nat_as_predicted(sandbox: Sandbox) -> None:
    node = cluster().netns["node1"]
    off = tuple(replace(s, value="0") if "bridge" in s.key else s for s in node.sysctls)
    plan = without(cluster((("10.96.0.6", "tcp", 80, ("10.244.1.3:8080",)),)), "node1", sysctls=off)

    def run() -> str:
        result = Lab(plan).trace(flow("default.a2", "10.96.0.6"))
        return "" if result.ok else trace_text(result, color=False)

    assert sandbox(run) == ""


def test_every_hop_of_a_service_has_its_cause_from_the_kernel(sandbox: Sandbox) -> None:
    def run() -> list[tuple[str, list[str]]]:
        result = Lab(cluster()).trace(flow("default.a2", "10.96.0.10", 53, "udp"))
        legs = (result.observed.forward, result.observed.reply)
        return [(str(h.point), [str(c.kind) for c in h.causes]) for leg in legs if leg for h in leg.hops]

    hops = sandbox(run)
    assert isinstance(hops, list)
    assert [place for place, causes in hops if not causes] == []
    absent = {CauseKind.TUNNEL, CauseKind.EBPF, CauseKind.IPVS}
    assert {kind for _, causes in hops for kind in causes} == set(CauseKind) - absent
