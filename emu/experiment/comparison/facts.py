"""What is found out of a mode once: the path, proved and captured; what stands in the Pod and on its Node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emu.api import resources
from emu.api.objects import Pod
from emu.capture import decode, pcapng
from emu.experiment import measuring
from emu.experiment.comparison.cluster import CLIENT, CLIENT_NODE, PORT, SERVER
from emu.experiment.model import Failed
from emu.experiment.testbed import Testbed
from emu.plan.model import Role
from emu.report import text, words
from emu.report.comparison import Proof, State
from emu.trace.model import CapturePoint, Direction, Hop, PacketRecord, TraceResult, Verdict

PACKETS, PATH, COMMANDS = "path.pcapng", "path.txt", "commands.sh"
_PODS = resources.BY_KIND["Pod"]
_KERNELS_OWN = 3  # ip rules: local, main, default


def proof(testbed: Testbed, directory: Path) -> Proof:
    """A request is followed. If it arrives, pings are captured everywhere, to measure their frames."""
    result = testbed.trace(CLIENT, f"{SERVER}:{PORT}")
    (directory / PATH).write_text(text.trace_text(result, color=False), encoding="utf-8")
    (directory / COMMANDS).write_text(testbed.script(), encoding="utf-8")
    leg, uplink = result.observed.forward, _uplink(result)
    delivered = leg.verdict is Verdict.DELIVERED and bool(leg.hops) and leg.hops[-1].point.owner == SERVER
    return Proof(
        ok=result.ok,
        delivered=delivered,
        told=_told(result, delivered),
        interfaces=len(leg.hops),
        routers=leg.hops[0].inner.ttl - leg.hops[-1].inner.ttl if leg.hops else 0,
        wire=wire(uplink) if uplink else "nothing",
        overhead_bytes=_overhead(testbed, directory, result, uplink) if delivered and uplink else None,
    )


def _told(result: TraceResult, delivered: bool) -> str:
    """How it ended. Where addresses are there twice, a packet can end well and at the wrong place."""
    if not result.ok or result.matched is None:
        return words.outcome(result)
    leg = result.observed.forward
    if delivered or leg.hops:
        return f"{words.ending(leg)}{'' if delivered else f', last seen at {leg.hops[-1].point}'}"
    expected = result.prediction.paths[result.matched].forward
    if expected.verdict is not Verdict.DELIVERED:
        return words.ending(expected)
    return f"it does not leave {CLIENT}, which has {SERVER}'s address {result.flow.dst} itself"


def _uplink(result: TraceResult) -> Hop | None:
    """Where it leaves the Node; where a Pod is a machine of its own, as a VM, the first it is seen at on the fabric."""
    hops = result.observed.forward.hops
    left = (hop for hop in hops if (hop.point.role, hop.direction) == (Role.UPLINK, Direction.OUT))
    return next(left, None) or next((hop for hop in hops if hop.point.role is Role.FABRIC), None)


def wire(hop: Hop) -> str:
    """The packet's outermost addresses, and in what it lies."""
    if hop.encapsulation is None:
        return f"naked, {hop.inner.src} → {hop.inner.dst}"
    tunnel = hop.encapsulation
    outer = tunnel.outer
    vni = f" {tunnel.vni}" if tunnel.vni else ""
    port = f", UDP {outer.dport}" if outer.dport else ""
    return f"{tunnel.kind.upper()}{vni}{port}, {outer.src} → {outer.dst}"


def _overhead(testbed: Testbed, directory: Path, result: TraceResult, uplink: Hop) -> int | None:
    file = directory / PACKETS
    recording = testbed.capture(["all"], file)
    try:
        measuring.latencies_us(testbed.run, CLIENT, address(testbed), 3)
    finally:
        recording.stop()
    return overhead(decode.records(pcapng.read(file).frames), result.observed.forward.hops[0].point, uplink.point)


def overhead(records: Sequence[PacketRecord], first: CapturePoint, uplink: CapturePoint) -> int | None:
    """How much longer a packet's frame was at the uplink than at the Pod; None if none was seen at both."""
    pods, nodes = (
        {each.same: each.length for each in reversed(records) if each.inner and str(each.point) == str(point)}
        for point in (first, uplink)
    )
    return next((nodes[same] - length for same, length in pods.items() if same in nodes), None)


def address(testbed: Testbed) -> str:
    """The server's."""
    namespace, name = SERVER.split("/")
    found = (each for each in testbed.objects(_PODS, namespace) if each.metadata.name == name)
    return next(each.status.pod_ip for each in found if isinstance(each, Pod))


def state(testbed: Testbed) -> State:
    pod, node = (measuring.interface(testbed.run, where, "eth0") for where in (CLIENT, CLIENT_NODE))
    return State(
        mtu=pod.mtu,
        rules=sum(line.startswith("-A") for line in _lines(testbed, "iptables-nft-save")),
        routes=sum(" table local " not in f"{line} " for line in _lines(testbed, "ip -4 route show table all")),
        ip_rules=len(_lines(testbed, "ip -4 rule show")) - _KERNELS_OWN,
        pod_qdisc=pod.qdisc,
        node_qdisc=node.qdisc,
    )


def _lines(testbed: Testbed, command: str) -> list[str]:
    """Of what a program prints on the client's Node."""
    ran = testbed.run(CLIENT_NODE, command.split(), 10)
    if ran.status:
        raise Failed(f"{command} to succeed on {CLIENT_NODE}", f"exit status {ran.status}", ran.out + ran.err)
    return [line for line in ran.out.splitlines() if line.strip()]
