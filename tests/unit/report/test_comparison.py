"""The modes side by side: what the table says, and what it may not hide."""

from __future__ import annotations

import json
from dataclasses import replace

from emu.report import comparison
from emu.report.comparison import Circumstances, Comparison, Proof, Round, Row, State

CIRCUMSTANCES = Circumstances(
    started="2025-01-01T00:00:00Z",
    kernel="6.1",
    processors=2,
    busy=0.25,
    load_before=0.5,
    load_after=1.5,
    together=True,
    nodes=2,
    rounds=3,
    seconds=1,
    pings=2,
)
STATE = State(mtu=1450, rules=67, routes=4, ip_rules=0, pod_qdisc="noqueue", node_qdisc="noqueue")
PROOF = Proof(
    ok=True, delivered=True, told="delivered", interfaces=12, routers=2, wire="VXLAN 1, UDP 8472", overhead_bytes=50
)
ROUNDS = tuple(
    Round(latencies_us=(latency, latency + 2), mbit=mbit, retransmissions=again, frame_bytes=50_000)
    for latency, mbit, again in ((100, 5000, 1), (200, 1000, 9), (300, 6000, 2))
)
MEASURED = Row(mode="flannel-vxlan", proof=PROOF, state=STATE, rounds=ROUNDS)
BY_DESIGN = Row(mode="docker", proof=replace(PROOF, delivered=False, told="nobody answers ARP", wire="nothing"))
ABSENT = Row(mode="cilium", why_not="this kernel has no eBPF")
WRONG = Row(mode="canal", proof=replace(PROOF, ok=False, told="it was last seen at node1:cni0"))
BROKEN = Row(mode="calico-bgp", proof=PROOF, state=STATE, failed="expected 50 answers, got 49")


def compared(*rows: Row) -> Comparison:
    return Comparison(circumstances=CIRCUMSTANCES, rows=rows)


def line(text: str, mode: str) -> str:
    return next(each for each in text.splitlines() if each.startswith(mode))


def test_a_mode_is_told_by_medians_with_their_spread() -> None:
    told = line(comparison.table(compared(MEASURED)), "flannel-vxlan")
    cells = "12 50 1450 67 4 0 5,000 (1,000–6,000) 2 201 (302, sd 82) VXLAN 1, UDP 8472"
    assert " ".join(told.split()) == f"flannel-vxlan ✓ arrives {cells}"


def test_columns_stand_below_one_another() -> None:
    heading, *rows = comparison.table(compared(MEASURED, BY_DESIGN)).splitlines()[:3]
    assert {row.index(told) for row, told in zip(rows, ("VXLAN", "nothing"), strict=True)} == {
        heading.index("on the wire")
    }


def test_what_fails_by_design_is_no_failure_and_is_told() -> None:
    of = compared(MEASURED, BY_DESIGN)
    told = comparison.table(of)
    assert of.ok
    assert line(told, "docker ").split()[1:3] == ["✓", "fails"]
    assert "docker: fails as predicted: nobody answers ARP" in told


def test_a_mode_that_cannot_run_here_is_a_row_that_says_why() -> None:
    of = compared(MEASURED, ABSENT)
    assert of.ok
    assert line(comparison.table(of), "cilium ").split()[1] == "–"
    assert "cilium: cannot run here: this kernel has no eBPF" in comparison.table(of)
    assert not compared(ABSENT).possible


def test_an_unpredicted_path_and_a_lost_measurement_fail_the_comparison() -> None:
    for row in (WRONG, BROKEN):
        assert not compared(MEASURED, row).ok
        assert line(comparison.table(compared(row)), row.mode).split()[1] == "✗"
    assert "canal: not as predicted: it was last seen at node1:cni0" in comparison.table(compared(WRONG))
    assert "calico-bgp: expected 50 answers, got 49" in comparison.table(compared(BROKEN))


def test_what_the_figures_hang_on_is_told_with_them() -> None:
    told = comparison.table(compared(MEASURED, BY_DESIGN))
    assert "2 processors, of which others used 25%; load 0.50 before, 1.50 after" in told
    assert "qdisc: noqueue at the Pod, noqueue at the Node" in told
    assert "50,000–50,000 bytes: frames went uncut (segmentation offload)" in told
    apart = replace(compared(MEASURED), circumstances=replace(CIRCUMSTANCES, together=False))
    assert "each testbed up for its visits alone" in comparison.table(apart)


def test_modes_with_other_queues_are_named() -> None:
    other = replace(MEASURED, mode="canal", state=replace(STATE, node_qdisc="fq"))
    told = comparison.table(compared(MEASURED, other))
    assert "canal noqueue at the Pod, fq at the Node" in told


def test_without_iperf3_there_is_latency_alone() -> None:
    pinged = replace(MEASURED, rounds=tuple(replace(each, mbit=None) for each in ROUNDS))
    cells = line(comparison.table(compared(pinged)), "flannel-vxlan").split()
    assert cells[9:12] == ["–", "–", "201"]


def test_markdown_is_a_table_of_as_many_cells() -> None:
    heading, rule, row, *_ = comparison.markdown(compared(MEASURED)).splitlines()
    assert heading.count("|") == rule.count("|") == row.count("|") == 13


def test_json_has_every_round_and_the_figures() -> None:
    first, second = json.loads(comparison.as_json(compared(MEASURED, ABSENT)))["modes"]
    assert [each["mbit"] for each in first["rounds"]] == [5000, 1000, 6000]
    assert first["throughput_mbit"]["median"] == 5000
    assert first["latency_us"]["least"] == 100
    assert (second["ok"], second["why_not"]) == (True, "this kernel has no eBPF")
