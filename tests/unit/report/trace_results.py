"""Trace results as values: one that went as predicted, one that did not."""

from __future__ import annotations

from ipaddress import ip_address

from emu.plan.model import Role
from emu.trace.changed import with_changes
from emu.trace.compare import compare
from emu.trace.model import (
    CapturePoint,
    Cause,
    CauseKind,
    Direction,
    Encapsulation,
    Flow,
    Headers,
    Hop,
    Leg,
    Path,
    Prediction,
    TraceResult,
    Verdict,
)

CLIENT, NODE, SERVER = ip_address("10.244.1.2"), ip_address("192.168.100.11"), ip_address("10.244.2.2")
FLOW = Flow(netns="default.client", dst=SERVER, proto="tcp", dport=80, label="default/client → web:80")
OUTER = Encapsulation(
    kind="vxlan", vni=1, outer=Headers(src=NODE, dst=ip_address("192.168.100.12"), proto="udp", dport=8472)
)
ROUTE = Cause(
    kind=CauseKind.ROUTE,
    netns="node1",
    text="10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    effect="to flannel.1",
)
RULE = Cause(
    kind=CauseKind.RULE,
    netns="node1",
    text='-t nat -A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT'
    " --to-destination 10.244.2.2:8080",
    effect="DNAT to 10.244.2.2:8080",
)
JUMPS = tuple(
    Cause(kind=CauseKind.RULE, netns="node1", text=f"-t nat -A {a} -j {b}")
    for a, b in (("PREROUTING", "KUBE-SERVICES"), ("KUBE-SERVICES", "KUBE-SEP-AAAAAAAAAAAAAAAA"))
)


def hop(place: str, direction: Direction, role: Role, ttl: int = 64, **more: object) -> Hop:
    label, _, ifname = place.partition(":")
    point = CapturePoint(label.replace("/", "."), ifname, role, label, label)
    headers = Headers(src=CLIENT, dst=SERVER, proto="tcp", sport=40000, dport=80, ttl=ttl, note="SYN")
    return Hop(point=point, direction=direction, inner=headers, **more)  # type: ignore[arg-type]


HOPS = with_changes(
    (
        hop("default/client:eth0", Direction.OUT, Role.POD_ETH, time_ns=1000),
        hop("node1:cni0", Direction.IN, Role.BRIDGE, time_ns=3000, causes=(*JUMPS, RULE, ROUTE)),
        hop("node1:flannel.1", Direction.OUT, Role.TUNNEL, 63, time_ns=4000),
        hop("node1:eth0", Direction.OUT, Role.UPLINK, 63, time_ns=5000, encapsulation=OUTER),
        hop("node2:eth0", Direction.IN, Role.UPLINK, 63, time_ns=6000, encapsulation=OUTER),
    )
)
PREDICTION = Prediction(flow=FLOW, paths=(Path(forward=Leg(hops=HOPS)),))


def as_predicted() -> TraceResult:
    return TraceResult(flow=FLOW, prediction=PREDICTION, observed=PREDICTION.paths[0], matched=0, reply_text="hello")


def lost_at_the_tunnel() -> TraceResult:
    observed = Path(forward=Leg(hops=HOPS[:3], verdict=Verdict.DROPPED, reason="last seen leaving node1:flannel.1"))
    matched, difference = compare(PREDICTION, observed)
    return TraceResult(
        flow=FLOW,
        prediction=PREDICTION,
        observed=observed,
        matched=matched,
        difference=difference,
        drift=("node1: FDB entry 02:00:00:00:00:02 dev flannel.1: missing",),
        dropped_by_capture=2,
        reply_text="timed out <after> 5 s\x01",
    )
