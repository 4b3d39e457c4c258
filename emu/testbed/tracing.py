"""One request, predicted first, then sent and watched at every point it may pass, then explained and compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from emu.capture.decode import records
from emu.capture.fragments import joined
from emu.capture.points import all_points
from emu.capture.recorder import Recorder, opener
from emu.kernel.netns import Netns, socket_in
from emu.kernel.sysctls import forget_path_mtus
from emu.kernel.tracing import FlowTrace, KernelLookup
from emu.kernel.tracing_ebpf import DecisionTrace
from emu.plan.model import IPAddress, NetnsKind, Plan
from emu.testbed import request
from emu.trace import sockets
from emu.trace.changed import endpoint
from emu.trace.compare import compare
from emu.trace.conntrack import Tuple
from emu.trace.correlate import correlate
from emu.trace.explain import explain
from emu.trace.flooding import without_copies
from emu.trace.model import CapturePoint, Flow, Headers, Hop, Leg, Path, Prediction, TraceResult, Verdict
from emu.trace.predict import predict
from emu.trace.refusals import NO_HOST

Send = Callable[[Flow], request.Reply]
MOST_POINTS = 200
NetnsOf = Callable[[str], Netns]
Follow = Callable[[], DecisionTrace]


def trace(
    plan: Plan, flow: Flow, netns_of: NetnsOf, send: Send | None = None, follow: Follow = lambda: DecisionTrace(())
) -> TraceResult:
    """`send` makes the traffic and returns how it went; by default one request of the testbed's own. `follow` listens
    to the lab's eBPF programs."""
    prediction = predict(plan, flow)
    points = watched(plan, prediction)
    nodes = {name: netns_of(name) for name in sorted({point.netns for point in points}) if plan.netns[name].tables}
    with (
        FlowTrace(nodes, flow.proto, addresses(prediction), outer=_outer(prediction), variant=plan.iptables) as rules,
        follow() as programs,
    ):
        recorder = Recorder(points, opener(netns_of), lenient=True)
        try:
            reply = send(flow) if send else one_request(flow, prediction, netns_of)
            sent = replace(flow, sport=reply.sport or flow.sport)
            recorder.settle()
        finally:
            capture = recorder.stop()
        taken, notes = without_copies(records(joined(capture.frames)), plan)
        with KernelLookup(netns_of, rules, programs) as lookup:
            translated = [each.leaving for each in lookup.requests(sent)]
            seen = correlate(taken, sent, [*translated, *_connected(plan, sent, lookup)])
            observed = _told(_unsent(explain(seen, plan, lookup, sent), reply.unsent), reply.told, prediction)
        unseen = send is not None and not seen.forward.hops and bool(_first_hops(prediction))
        warnings = (*notes, *_warnings(recorder), *([_sent_nothing(flow)] if unseen else []))
    matched, difference = compare(prediction, observed, plan.netns.keys() - set(rules.lost))
    return TraceResult(
        flow=sent,
        prediction=prediction,
        observed=observed,
        matched=matched,
        difference=difference,
        reply_text=reply.text,
        dropped_by_capture=sum(capture.drops.values()),
        warnings=warnings,
        unproven=_unproven(rules.lost),
    )


def _connected(plan: Plan, flow: Flow, lookup: KernelLookup) -> Iterator[Tuple]:
    """What the request can be once a program has given its socket another end."""
    for decision in lookup.chosen(flow):
        to = sockets.to_backend(flow, decision)
        if to is not flow:
            for own in plan.netns[flow.netns].addresses:
                yield Tuple(own.address.ip, to.dst, to.proto, to.sport, to.dport)


def one_request(flow: Flow, prediction: Prediction, netns_of: NetnsOf) -> request.Reply:
    replies = [path.reply for path in prediction.paths if path.reply]
    slow = any(NO_HOST in (reply.reason, *(hop.inner.note for hop in reply.hops)) for reply in replies)
    timeout_s = request.UNREACHABLE_S if slow else request.TIMEOUT_S
    netns = netns_of(flow.netns)
    if flow.size is not None:
        forget_path_mtus(netns)  # each trace is as if it were the first
    return request.send(flow, lambda *how: socket_in(netns, *how), timeout_s)


def _unsent(observed: Path, why: str) -> Path:
    """Of what was seen nowhere the sender's kernel may have said why."""
    if observed.forward.hops or not why:
        return observed
    return replace(observed, forward=replace(observed.forward, reason=why))


def _told(observed: Path, told: str | None, prediction: Prediction) -> Path:
    """What the sender's kernel says over lo of a packet that was seen nowhere. Where a program refuses the connect
    there is no packet: the same words are its own."""
    wanted = any(path.reply and path.reply.reason == NO_HOST for path in prediction.paths)
    refused = observed.forward.verdict is Verdict.REJECTED
    if observed.forward.hops or observed.reply or told is None or refused or not (told or wanted):
        return observed
    return replace(observed, reply=Leg(hops=(), verdict=Verdict.DELIVERED if told else Verdict.DROPPED, reason=told))


def _first_hops(prediction: Prediction) -> tuple[Hop, ...]:
    return tuple(hop for path in prediction.paths for hop in path.forward.hops[:1])


def _sent_nothing(flow: Flow) -> str:
    return f"the command sent no {flow.proto} packet to {endpoint(flow.dst, flow.dport)}"


def _unproven(lost: Collection[str]) -> str:
    return f"the kernel had more trace events than there was room for ({', '.join(lost)})" if lost else ""


def _warnings(recorder: Recorder) -> Iterator[str]:
    for point in recorder.absent:
        yield f"there is no interface {point}"


def watched(plan: Plan, prediction: Prediction) -> tuple[CapturePoint, ...]:
    """Every interface, so that a packet is found where nobody expects it; of a large cluster those of the fabric and
    the Nodes, and of the Pods the flow may come to."""
    every = all_points(plan)
    if len(every) <= MOST_POINTS:
        return every
    pods = {hop.point.netns for hop in _hops(prediction)} | {prediction.flow.netns}
    return tuple(point for point in every if plan.netns[point.netns].kind is not NetnsKind.POD or point.netns in pods)


def addresses(prediction: Prediction) -> set[IPAddress]:
    """All the addresses the flow may have on its way."""
    return {prediction.flow.dst} | {each for hop in _hops(prediction) for each in (hop.inner.src, hop.inner.dst)}


def _outer(prediction: Prediction) -> Iterator[Headers]:
    return (hop.encapsulation.outer for hop in _hops(prediction) if hop.encapsulation)


def _hops(prediction: Prediction) -> Iterator[Hop]:
    for path in prediction.paths:
        yield from path.forward.hops
        if path.reply:
            yield from path.reply.hops
