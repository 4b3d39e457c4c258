"""All the paths a flow may take in a planned cluster, worked out before the first packet leaves and without
looking at any capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from emu.plan.model import IPAddress, NetnsKind, NetnsPlan, Plan
from emu.trace import sizes, sockets
from emu.trace.changed import endpoint, with_changes
from emu.trace.model import Flow, Headers, Leg, Path, Prediction, Verdict
from emu.trace.packet import Journey, Packet
from emu.trace.refusals import NO_HOST, TTL, error_about, refusal
from emu.trace.simulator import Simulator
from emu.trace.world import Query, World

MAX_PATHS = 4096
_TRANSPORT = 8  # bytes of an ICMP echo's header, and of a UDP header
_FIRST_NOTE = {"tcp": "SYN", "icmp": "echo request", "icmp6": "echo request"}


@dataclass(slots=True)
class _Script:
    """Which outcome to take at each choice of a run; after the run, `advance` turns to the next untried combination."""

    picks: list[int] = field(default_factory=list)
    options: list[int] = field(default_factory=list)
    probability: float = 1.0

    def choose(self, weights: Sequence[float]) -> int:
        if len(weights) == 1:
            return 0
        position = len(self.options)
        self.options.append(len(weights))
        if position == len(self.picks):
            self.picks.append(0)
        self.probability *= weights[self.picks[position]]
        return self.picks[position]

    def advance(self) -> bool:
        picks = self.picks[: len(self.options)]
        while picks and picks[-1] + 1 == self.options[len(picks) - 1]:
            picks.pop()
        if picks:
            picks[-1] += 1
        self.picks, self.options, self.probability = picks, [], 1.0
        return bool(picks)


def predict(plan: Plan, flow: Flow) -> Prediction:
    """Equal paths are joined, the most probable comes first."""
    world, script = World(plan), _Script()
    found: dict[Path, float] = {}
    for _ in range(MAX_PATHS):
        path = _Run(world, script).path(flow)
        found[path] = found.get(path, 0.0) + script.probability
        if not script.advance():
            break
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return Prediction(flow=flow, paths=tuple(_weighted(path, p) for path, p in ordered))


def _weighted(path: Path, probability: float) -> Path:
    reply = replace(path.reply, probability=probability) if path.reply else None
    return Path(forward=replace(path.forward, probability=probability), reply=reply)


class _Run:
    """One run with all choices made."""

    def __init__(self, world: World, script: _Script) -> None:
        self.world, self.script = world, script
        self.simulator = Simulator(world, script.choose)

    def path(self, flow: Flow) -> Path:
        connected = sockets.connect(self.world, flow, self.script.choose)
        if connected.flow is None:
            return Path(
                forward=Leg(hops=(), verdict=Verdict.REJECTED, reason=sockets.NO_BACKEND, origin=connected.causes)
            )
        first = self._first(connected.flow)
        if isinstance(first, str):
            return Path(forward=Leg(hops=(), verdict=Verdict.DROPPED, reason=first, origin=connected.causes))
        asked = first.headers
        forward = self.simulator.send(flow.netns, first)
        sender, answer, note = self._answer(forward)
        leg = _leg(forward)
        leg = replace(leg, origin=(*connected.causes, *leg.origin))
        if answer is None or sender is None:
            return Path(forward=leg)
        answer.answer = True
        back = self.simulator.send(sender, answer)
        return Path(forward=leg, reply=_reply_leg(back, flow, asked, note))

    def _first(self, flow: Flow) -> Packet | str:
        """The request as the socket makes it, or why it cannot."""
        machine = self.world.machines[flow.netns]
        route = machine.route(Query(flow.dst, flow.src))
        source = flow.src or (machine.source(route, flow.dst) if route else None)
        if route is None or source is None:
            return f"{machine.plan.owner} has no route to {flow.dst}"
        proto = "icmp6" if flow.proto == "icmp" and flow.dst.version == 6 else flow.proto
        note = _FIRST_NOTE.get(flow.proto, "")
        dport = flow.dport if proto in ("tcp", "udp", "sctp") else 0
        headers = Headers(src=source, dst=flow.dst, proto=proto, sport=flow.sport, dport=dport, ttl=TTL, note=note)
        length = 0 if flow.size is None else sizes.HEADER[flow.dst.version] + _TRANSPORT + flow.size
        return Packet(headers, length=length, df=flow.df)

    def _answer(self, forward: Journey) -> tuple[str | None, Packet | None, str]:
        """Who sends something back, what, and a word on it."""
        if forward.error is not None:
            return *forward.error, ""
        if forward.end is None:
            return None, None, ""
        netns, packet = forward.end
        asked = packet.headers
        if asked.proto in ("icmp", "icmp6"):
            reply = replace(asked, src=asked.dst, dst=asked.src, ttl=TTL, note="echo reply")
            return netns, Packet(reply, length=packet.length), ""  # never with "don't fragment" (icmp_sk_init)
        if self._listens(self.world.machines[netns].plan, asked):
            note = "SYN-ACK" if asked.proto == "tcp" else ""
            return netns, _reply(asked, note), ""
        closed = f"nothing listens on {asked.proto} {endpoint(asked.dst, asked.dport)}"
        if asked.proto == "tcp":
            return netns, refusal(packet), closed
        machine = self.world.machines[netns]
        return netns, error_about(machine, packet, "unreachable: port"), closed

    def _listens(self, plan: NetnsPlan, asked: Headers) -> bool:
        """Where the plan does not say, both ways are predicted."""
        known = listening(plan, asked.proto, asked.dport, asked.dst)
        return known if known is not None else self.script.choose((0.5, 0.5)) == 0


def listening(plan: NetnsPlan, proto: str, port: int, address: IPAddress) -> bool | None:
    """True if a container declares the port. A port not declared may be open all the same, as in Kubernetes, where
    `ports` is documentation; then, and on a Node, None. A Pod without containers listens on nothing."""
    if any((proto, port) in daemon.listens for daemon in plan.daemons):
        return True
    if plan.kind is not NetnsKind.POD or plan.pod is None:
        return None
    declared = {
        (each.protocol.lower(), each.container_port)
        for process in plan.pod.processes
        if not process.init
        for each in process.container.ports
    }
    return True if (proto, port) in declared else None


def _reply(asked: Headers, note: str) -> Packet:
    return Packet(
        replace(asked, src=asked.dst, dst=asked.src, sport=asked.dport, dport=asked.sport, ttl=TTL, note=note)
    )


def _leg(way: Journey, reason: str = "") -> Leg:
    hops = (replace(hop, causes=tuple(causes)) for hop, causes in zip(way.hops, way.causes[1:], strict=True))
    return Leg(hops=with_changes(hops), verdict=way.verdict, reason=way.reason or reason, origin=tuple(way.causes[0]))


def _reply_leg(way: Journey, flow: Flow, asked: Headers, note: str) -> Leg:
    leg = _leg(way, note)
    if way.end is None:
        return leg
    netns, packet = way.end
    got = packet.headers
    if not leg.hops and got.note == NO_HOST:  # over lo, which is no capture point
        leg = replace(leg, reason=NO_HOST)
    if netns != flow.netns:
        return replace(leg, verdict=Verdict.DROPPED, reason=f"the answer ends in {netns}, which did not ask")
    if packet.about is None and (got.src, got.sport) != (asked.dst, asked.dport or got.sport):
        shown = endpoint(got.src, got.sport), endpoint(asked.dst, asked.dport)
        return replace(leg, verdict=Verdict.DROPPED, reason=f"the answer comes from {shown[0]}, not from {shown[1]}")
    return leg
