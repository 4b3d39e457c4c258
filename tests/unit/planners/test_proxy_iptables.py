"""kube-proxy's iptables mode against upstream's own expectations."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from proxy_cases import CASES, ruleset

from emu import names
from emu.netfilter import evaluate
from emu.netfilter.line import line
from emu.netfilter.model import Table
from emu.plan.merge import tables
from emu.plan.model import RulesetPart
from emu.planners.proxy.iptables_service import probability

FLOWS = [
    pytest.param(suite, flow, id=f"{suite['id']}: {flow['name']}")
    for suite in CASES["flow_suites"]
    for flow in suite["flows"]
]


def _suites(kind: str) -> list[Any]:
    return [pytest.param(suite, id=suite["id"]) for suite in CASES[kind]]


@pytest.mark.parametrize("case", CASES["chain_names"], ids=lambda case: case["chain"])
def test_chain_names_are_upstreams(case: dict[str, str]) -> None:
    prefix = case["chain"][: case["chain"].rindex("-") + 1]
    assert names.kube_chain(prefix, case["service_port_name"], case["protocol"], case["endpoint"]) == case["chain"]


@pytest.mark.parametrize("case", CASES["probabilities"], ids=lambda case: str(case["endpoints_left"]))
def test_probabilities_are_spelled_as_upstream_does(case: dict[str, Any]) -> None:
    assert probability(case["endpoints_left"]) == case["text"]


def written(part: RulesetPart, table: str) -> dict[str, list[str]]:
    """The lines of each chain of one's own that has rules."""
    found = next(t for t in part.tables if t.name == table)
    return {chain.name: [line(chain.name, rule) for rule in chain.rules] for chain in found.chains if chain.rules}


@pytest.mark.parametrize("table", ["nat", "filter"])
@pytest.mark.parametrize("suite", _suites("rule_suites"))
def test_rules_are_upstreams_line_by_line(suite: dict[str, Any], table: str) -> None:
    wanted: dict[str, list[str]] = {}
    for text in suite["expected"][table]:
        wanted.setdefault(text.split()[1], []).append(text)
    assert written(ruleset(suite), table) == wanted


def outcome(merged: tuple[Table, ...], flow: dict[str, Any], local: set[str]) -> tuple[str, bool]:
    """As upstream's tracer tells it: nat PREROUTING, then filter INPUT (local) or FORWARD, then nat POSTROUTING."""
    packet = evaluate.PacketView(
        src=ip_address(flow["src"]), dst=ip_address(flow["dst"]), proto=flow["protocol"].lower(), dport=flow["dport"]
    )
    choices = evaluate.Choices(is_local=lambda ip: str(ip) in local or ip.is_loopback)
    ends: list[str] = []
    masqueraded = False
    for routed in evaluate.walk(merged, "PREROUTING", packet, choices):
        hook = "INPUT" if choices.is_local and choices.is_local(routed.packet.dst) else "FORWARD"
        for passed in evaluate.walk(merged, hook, routed.packet, choices):
            accepted = any(m.chain == "KUBE-NODEPORTS" and m.rule.target == "ACCEPT" for m in passed.matched)
            if passed.verdict != "ACCEPT" or accepted:
                ends.append(passed.verdict)
            elif routed.dnat is not None:
                address, port = routed.dnat
                ends.append(f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}")
                after = list(evaluate.walk(merged, "POSTROUTING", passed.packet, choices))
                masqueraded |= any(leaving.masquerade for leaving in after)
    return ", ".join(ends), masqueraded


@pytest.mark.parametrize(("suite", "flow"), FLOWS)
def test_packets_flow_as_upstream_says(suite: dict[str, Any], flow: dict[str, Any]) -> None:
    merged = tables((ruleset(suite),))
    local = set(suite["config"]["nodeIPs"])
    assert outcome(merged, flow, local) == (flow["output"], flow["masquerade"])


def test_large_clusters_have_no_comments_on_endpoints() -> None:
    base = next(suite for suite in CASES["flow_suites"] if suite["id"] == "clusterip-general")
    endpoint = dict(next(iter(base["endpoints"].values()))["endpoints"][0])
    many = [{**endpoint, "ip": f"10.1.{i // 256}.{i % 256}"} for i in range(1001)]
    few = {**base, "services": base["services"][:1]}
    large = {**few, "endpoints": {"ns1/svc1": {"ports": {"http": 80}, "endpoints": many}}}
    for suite, commented in ((few, True), (large, False)):
        chains = written(ruleset(suite), "nat")
        single = [text for name, lines in chains.items() if name.startswith("KUBE-SEP-") for text in lines]
        assert single
        assert all(("--comment" in text) == commented for text in single)
    sep = names.kube_chain("KUBE-SEP-", "ns1/svc1:http", "tcp", "10.1.0.7:80")
    assert chains[sep][1] == f"-A {sep} -m tcp -p tcp -j DNAT --to-destination 10.1.0.7:80"


def test_liberal_tcp_tracking_leaves_invalid_packets_alone() -> None:
    base = CASES["rule_suites"][1]
    liberal = {**base, "config": {**base["config"], "tcpLiberal": True}}
    strict_rules, liberal_rules = (written(ruleset(suite), "filter")["KUBE-FORWARD"] for suite in (base, liberal))
    assert strict_rules[0] == "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"
    assert liberal_rules == strict_rules[1:]


def test_masquerade_draws_random_ports_when_iptables_can() -> None:
    base = CASES["rule_suites"][1]
    fully = {**base, "config": {**base["config"], "randomFully": True}}
    assert written(ruleset(fully), "nat")["KUBE-POSTROUTING"][-1].endswith("-j MASQUERADE --random-fully")
    assert written(ruleset(base), "nat")["KUBE-POSTROUTING"][-1].endswith("-j MASQUERADE")


def test_each_branch_of_a_random_choice_is_equally_likely() -> None:
    base = next(suite for suite in CASES["flow_suites"] if suite["id"] == "terminating-cluster-ready-exist")
    packet = evaluate.PacketView(src=ip_address("10.0.0.2"), dst=ip_address("172.30.1.1"), proto="tcp", dport=80)
    shares = [each.probability for each in evaluate.walk(tables((ruleset(base),)), "PREROUTING", packet)]
    assert shares == pytest.approx([1 / 3] * 3)
