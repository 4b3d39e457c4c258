from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from trace_plans import cluster, without
from trace_records import ANY_PORT, records

from emu.netfilter import parse
from emu.plan.model import Plan
from emu.trace.compare import compare
from emu.trace.conntrack import Tuple, tuple_of
from emu.trace.correlate import correlate
from emu.trace.model import Cause, CauseKind, Flow, Leg, PacketRecord, Path, Prediction, Verdict
from emu.trace.predict import predict


def flow(src: str, dst: str, dport: int = 80, proto: str = "tcp") -> Flow:
    return Flow(netns=src, dst=ip_address(dst), proto=proto, dport=dport)


KINDS = [
    flow("default.a2", "10.244.1.3", 8080),
    flow("default.a2", "10.244.2.2", 8080),
    flow("default.a2", "10.244.2.2", 82),
    flow("default.a2", "10.244.2.2", 82, "udp"),
    flow("default.a2", "10.244.2.2", 0, "icmp"),
    flow("default.a2", "10.244.2.77", 0, "icmp"),
    flow("default.a2", "10.96.0.5"),
    flow("default.a2", "10.96.0.6"),
    flow("default.a2", "10.96.0.9"),
    flow("default.a2", "10.96.0.10", 53, "udp"),
    flow("default.a2", "192.168.100.12", 10250),
    flow("node1", "10.244.2.2", 8080),
]


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("asked", KINDS, ids=lambda f: f"{f.netns}-{f.dst}-{f.proto}-{f.dport}")
def test_what_a_kernel_as_planned_shows_is_the_predicted_path(asked: Flow, optional: bool) -> None:
    prediction = predict(cluster(), asked)
    for index, path in enumerate(prediction.paths):
        observed = correlate(records(path, optional=optional), asked)
        assert compare(prediction, observed) == (index, None)


@pytest.mark.parametrize("late_ns", [0, 1])
@pytest.mark.parametrize("asked", KINDS, ids=lambda f: f"{f.netns}-{f.dst}-{f.proto}-{f.dport}")
def test_places_with_one_time_are_in_the_order_of_the_wires(asked: Flow, late_ns: int) -> None:
    """As by a clock so coarse that a packet is at both ends of a veth in one tick."""
    prediction = predict(cluster(), asked)
    for index, path in enumerate(prediction.paths):
        coarse = [replace(each, time_ns=(each.time_ns + late_ns) // 2) for each in records(path)]
        assert compare(prediction, correlate(coarse, asked)) == (index, None)


def test_a_nodes_request_is_found_by_what_its_conntrack_has_made_of_it() -> None:
    asked = flow("node1", "10.96.0.5")
    prediction = predict(cluster(), asked)
    for index, path in enumerate(prediction.paths):
        assert compare(prediction, correlate(records(path), asked, [sent(path)])) == (index, None)


def sent(path: Path) -> Tuple:
    """The request as it leaves the sender."""
    first = next(record for record in records(path) if record.same == "request")
    assert first.inner is not None
    return tuple_of(first.inner)


def test_a_nodes_request_to_a_backend_that_nobody_predicted_is_seen_all_the_same() -> None:
    asked = flow("node1", "10.96.0.5")
    elsewhere = flow("node1", "10.244.2.9", 8080)
    went = records(predict(cluster(), elsewhere).paths[0])
    tracked = Tuple(ip_address("10.244.1.0"), ip_address("10.244.2.9"), "tcp", ANY_PORT, 8080)
    observed = correlate(went, asked, [tracked])
    assert observed.forward.hops
    _, found = compare(predict(cluster(), asked), observed)
    assert found
    assert "expected dst 10.244.1.3" in found.what or "but it was seen to leave node1" in found.what


def test_somebody_elses_connection_to_the_same_backend_is_not_the_request() -> None:
    """node1 asks a Service while other requests of node1 go the same way."""
    asked = replace(flow("node1", "10.96.0.5"), sport=50000)
    path = predict(cluster(), asked).paths[-1]
    ours, ends = records(path, start_ns=50_000), sent(path)
    others = [_from_port(each, 41000, "other") for each in records(path)]
    observed = correlate([*others, *ours], asked, [ends])
    assert {hop.inner.sport for hop in observed.forward.hops} == {ends.sport}


def test_a_packet_of_a_connection_that_is_open_already_is_not_the_request() -> None:
    asked = flow("default.a2", "10.244.2.2", 8080)
    (path,) = predict(cluster(), asked).paths
    before = [_from_port(each, 41000, "other", "ACK") for each in records(path)]
    observed = correlate([*before, *records(path, start_ns=50_000)], asked)
    assert {hop.inner.note for hop in observed.forward.hops} == {"SYN"}
    assert correlate(before, asked).forward.hops == ()


def _from_port(record: PacketRecord, sport: int, same: str, note: str = "") -> PacketRecord:
    assert record.inner is not None
    inner = replace(record.inner, sport=sport, note=note or record.inner.note)
    return replace(record, inner=inner, same=f"{same} {record.same}")


def test_other_traffic_is_not_the_request() -> None:
    asked = flow("default.a2", "10.96.0.5")
    noise = predict(cluster(), flow("default.a2", "10.244.1.3", 8080)).paths[0]
    observed = correlate([replace(r, same=f"other {r.same}") for r in records(noise)], asked)
    assert observed.forward.hops == ()
    assert observed.forward.reason == "the request was seen nowhere"


def test_a_packet_sent_again_is_not_a_second_hop() -> None:
    asked = flow("default.a2", "10.244.2.2", 8080)
    (path,) = predict(cluster(), asked).paths
    again = [replace(r, time_ns=r.time_ns + 500) for r in records(path) if r.same == "request"]
    assert len(correlate([*records(path), *again], asked).forward.hops) == len(path.forward.hops)


def difference(asked: Flow, broken: Plan) -> str:
    """What is said when the kernel does what `broken` says and the plan was another."""
    expected = predict(cluster(), asked)
    observed = correlate(records(predict(broken, asked).paths[0]), asked)
    matched, found = compare(expected, observed)
    assert matched is None
    assert found is not None
    return found.what


def test_a_missing_route_is_the_hop_where_the_packet_did_not_go_on() -> None:
    node = cluster().netns["node1"]
    said = difference(flow("default.a2", "10.244.2.2", 8080), without(cluster(), "node1", routes=node.routes[:1]))
    assert said == (
        "forward hop 4: expected to leave node1 through flannel.1 (10.244.1.2 → 10.244.2.2:8080),"
        " but the packet was last seen at node1:cni0"
    )


def test_a_missing_fdb_entry_is_the_hop_where_the_packet_was_not_encapsulated() -> None:
    said = difference(flow("default.a2", "10.244.2.2", 8080), without(cluster(), "node1", fdb=()))
    assert said == (
        "forward hop 5: expected to leave node1 through eth0 (10.244.1.2 → 10.244.2.2:8080, VXLAN to 192.168.100.12),"
        " but the packet was last seen at node1:flannel.1"
    )


def test_a_wrong_neighbor_is_a_wrong_mac() -> None:
    node = cluster().netns["node1"]
    wrong = replace(node.neighbors[0], mac="02:00:00:00:00:99")
    said = difference(flow("default.a2", "10.244.2.2", 8080), without(cluster(), "node1", neighbors=(wrong,)))
    assert said == (
        "forward hop 4: at node1:flannel.1: expected destination MAC 02:00:00:00:0f:02, got 02:00:00:00:00:99"
    )


def test_a_missing_rule_is_a_destination_that_was_not_translated() -> None:
    said = difference(flow("default.a2", "10.96.0.10", 53, "udp"), without(cluster(), "node1", tables=()))
    assert said == "forward hop 3: at node1:cni0: expected dst 10.244.2.2, got 10.96.0.10"


def test_br_netfilter_off_is_an_answer_that_was_not_translated_back() -> None:
    node = cluster().netns["node1"]
    plan = without(cluster(), "node1", sysctls=node.sysctls[:1])
    asked = flow("default.a2", "10.96.0.5")
    said = difference(asked, plan)
    assert said.startswith("forward hop 3: ")


def test_an_answer_that_never_came_back_is_said_of_the_reply() -> None:
    node = cluster().netns["node2"]
    said = difference(flow("default.a2", "10.244.2.2", 8080), without(cluster(), "node2", routes=node.routes[:1]))
    assert said.startswith("reply hop 4: expected to leave node2 through flannel.1")


def test_a_rejected_request_names_who_refused() -> None:
    asked = flow("default.a2", "10.96.0.9")
    observed = correlate(records(predict(cluster(), asked).paths[0]), asked)
    assert observed.forward.verdict is Verdict.REJECTED
    assert observed.forward.reason == "node1 answered unreachable: port"


def test_a_rst_where_an_answer_was_expected_differs() -> None:
    asked = flow("default.a2", "10.244.2.2", 8080)
    prediction = predict(cluster(), asked)
    (path,) = prediction.paths
    refused = [
        replace(r, inner=replace(r.inner, note="RST")) if r.inner and r.same == "answer" else r for r in records(path)
    ]
    _, found = compare(prediction, correlate(refused, asked))
    assert found
    assert found.what == "reply hop 1: at default/b2:eth0: expected SYN-ACK, got RST"


def test_a_rule_that_was_not_matched_is_named_where_rules_were_traced() -> None:
    asked = flow("default.a2", "10.96.0.10", 53, "udp")
    prediction = predict(cluster(), asked)
    path = prediction.paths[0]
    causes = [c for hop in path.forward.hops for c in hop.causes]
    rules = [c.text for c in causes if c.kind is CauseKind.RULE and c.netns == "node1"]
    assert compare(prediction, _traced(path, asked, rules), ["node1"]) == (0, None)
    matched, found = compare(prediction, _traced(path, asked, [r for r in rules if "DNAT" not in r]), ["node1"])
    assert matched is None
    assert found
    assert found.what == (
        "forward hop 2: in node1 the packet did not match the expected rule"
        " -t nat -A KUBE-SEP-2-0 -p udp -m udp -j DNAT --to-destination 10.244.2.2:53"
    )


def test_a_node_where_no_rule_matched_at_all_has_lost_them_all() -> None:
    asked = flow("default.a2", "10.96.0.10", 53, "udp")
    prediction = predict(cluster(), asked)
    nothing = _traced(prediction.paths[0], asked, [])
    matched, found = compare(prediction, nothing, ["node1"])
    assert matched is None
    assert found
    assert found.what.startswith("forward hop 2: in node1 the packet did not match the expected rule -t nat -A PRE")
    assert compare(prediction, nothing, ["fabric"]) == (0, None), "of a Node that was not asked nothing is said"


def _traced(path: Path, asked: Flow, rules: list[str]) -> Path:
    """The path as observed, with these rules read from the trace where the request came into node1."""
    hops = [replace(hop, causes=tuple(c for c in hop.causes if not _is_rule(c))) for hop in path.forward.hops]
    causes = tuple(Cause(kind=CauseKind.RULE, netns="node1", text=rule) for rule in rules)
    hops[1] = replace(hops[1], causes=(*causes, *hops[1].causes))
    return Path(forward=replace(path.forward, hops=tuple(hops)), reply=path.reply)


def _is_rule(cause: Cause) -> bool:
    return cause.netns == "node1" and cause.kind is CauseKind.RULE


@pytest.mark.parametrize("kind", [CauseKind.ROUTE, CauseKind.NEIGHBOR, CauseKind.FDB])
def test_a_hop_without_the_predicted_kind_of_reason_is_no_proof(kind: CauseKind) -> None:
    prediction = predict(cluster(), flow("default.a2", "10.244.2.2", 8080))
    (path,) = prediction.paths
    hops = (replace(hop, causes=tuple(c for c in hop.causes if c.kind is not kind)) for hop in path.forward.hops)
    without_kind = Path(forward=replace(path.forward, hops=tuple(hops)), reply=path.reply)
    assert compare(prediction, without_kind) == (0, None)
    _, found = compare(prediction, without_kind, ["node1"])
    assert found
    assert found.what == f"forward hop 2: in node1 the kernel has no {kind} for the packet, which was predicted"


@pytest.mark.parametrize("verdict", [Verdict.DROPPED, Verdict.REJECTED])
def test_the_same_hops_with_another_end_are_another_path(verdict: Verdict) -> None:
    prediction = predict(cluster(), flow("default.a2", "10.244.2.2", 8080))
    (path,) = prediction.paths
    ended = Path(forward=replace(path.forward, verdict=verdict, reason="a rule"), reply=path.reply)
    _, found = compare(prediction, ended)
    assert found
    assert found.what.endswith(f"expected to be delivered behind it, but it was {verdict}, a rule")


def test_a_planned_policy_of_drop_has_no_answer() -> None:
    tables = parse.save("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", 4)
    asked = flow("default.a2", "10.244.2.2", 8080)
    said = difference(asked, without(cluster(), "node1", tables=tables))
    assert said.endswith("but the packet was last seen at node1:cni0")


def told(prediction: Prediction, reply: str) -> str:
    """Of a packet that no interface shows: the difference when its sender's kernel then says `reply`."""
    seen = Path(forward=replace(prediction.paths[0].forward, hops=()), reply=Leg(hops=(), reason=reply))
    _, difference = compare(prediction, seen)
    return difference.what if difference else ""


def test_what_a_kernel_tells_its_own_sender_over_lo_is_compared() -> None:
    nobody = predict(cluster(), flow("node1", "9.9.9.9", 0, "icmp"))
    assert told(nobody, "unreachable: host") == ""
    assert told(nobody, "") == "reply: expected unreachable: host, got none"
    silent = replace(nobody, paths=(replace(nobody.paths[0], reply=None),))
    assert told(silent, "unreachable: host") == "reply: expected none, got unreachable: host"
