import json
from dataclasses import dataclass

from bench import byhand, report, scale


@dataclass
class Cost:
    wall_s: float
    user_s: float = 0.5
    system_s: float = 1.5


def lab(ready_s, kb, change_s):
    laps = {"load": 0.1, "apply": 2.0, "apply: rules": 1.0}
    change = {"total": change_s, "resolve": 0.01, "build": 0.01, "diff": 0.01, "apply": 0.05}
    return {
        "ready_s": ready_s, "laps": laps, "user_s": 1.0, "system_s": 3.0, "pods": 1002, "change": [change],
        "kernel_kb": {"Slab": 300_000}, "process_kb": {"python 1": kb},
    }  # fmt: skip


SAMPLES = {
    "others": [0.0, 0.1, 0.2],
    "floor": [Cost(1.0), Cost(1.0), Cost(5.0)],
    "links": [Cost(1.5)] * 3,
    "cluster links": [Cost(1.8)] * 3,
    "bare rules": [Cost(0.8)] * 3,
    "bare rules, one per core": [Cost(1.0)] * 3,
    "rules": [Cost(0.9)] * 3,
    "Mininet": [Cost(14.0)] * 3,
    "stages": [{"resolve": 0.2}] * 3,
    "lab": [lab(3.9, 72_000, 0.14), lab(3.0, 72_000, 0.16), lab(9.0, 72_000, 0.2)],
    "empty lab": [{**lab(1.0, 42_000, 0.1), "pods": 2}],
}


def row(what, part=""):
    return next(each for each in report.rows(SAMPLES) if each.what == what and part in each.part)


def test_a_disturbed_round_does_not_move_the_median():
    assert (row("the floor's objects").beside, row("files to Pods, rules, DNS").value) == (1.0, 3.9)


def test_an_aim_is_met_or_missed():
    assert row("the floor's objects").met
    assert row("the cluster's: VXLAN, fabric, sysctls too").met is False
    assert row("on every Node").met is False


def test_memory_of_a_pod_is_what_the_lab_has_beyond_an_empty_one():
    assert row("processes, per Pod").value == 30.0
    assert row("kernel, Slab, per Pod").value == 300.0


def test_parts_of_a_part_are_not_counted_twice():
    assert round(row("… the rest: servers, probes, store").value, 6) == round(3.9 - 2.1, 6)


def test_the_table_and_the_json_tell_the_same():
    table, data = report.text(SAMPLES), json.loads(report.as_json(SAMPLES))
    assert "20 Nodes, 1000 Pods, 100 Services; median of 3 interleaved rounds" in table
    assert all(each["what"] in table for each in data["rows"])


def test_by_hand_is_judged_by_the_ratio_of_rounds_and_shows_their_spread():
    cases = {
        "cni0": case((60, 100), (100, 100), (140, 100)),
        "calico-bgp": case((99, 100), (96, 100), (101, 100)),
        "canal": case((90, 100), (89, 100), (91, 100)),
    }
    bridge, route, tunnel, none = byhand.text(cases, {"calico-ipip": "no ipip"}, 0.5).splitlines()[1:]
    assert "ratio 1.00 (0.60–1.40)" in bridge and "within 5%: not to be told" in bridge
    assert "ratio 0.99 (0.96–1.01)" in route and route.endswith("within 5%: met")
    assert "ratio 0.90 (0.89–0.91)" in tunnel and tunnel.endswith("within 5%: MISSED")
    assert none.split() == ["tunnel", "calico-ipip", "cannot:", "no", "ipip"]


def test_where_throughput_cannot_tell_what_a_second_of_processors_carried_does():
    steady = case((60, 100, 0.6, 1.0), (100, 100, 1.0, 1.0), (140, 100, 1.4, 1.0))
    worse = case((60, 100, 1.2, 1.0), (100, 100, 2.0, 1.0), (140, 100, 2.8, 1.0))
    assert byhand.verdict(steady) == "met, by processors' time"
    assert byhand.verdict(worse) == "MISSED, by processors' time"


def case(*rounds):
    samples = [byhand.Sample(*each[:2], *(each[2:] or (1.0, 1.0))) for each in rounds]
    return byhand.Case(ours=None, hand=None, address="", samples=samples)


def test_scale_tells_what_missed_its_aim_and_what_cannot_be():
    made = scaled(apply_s=3.1, apply_cpu_s=3.1, ready_s=30, laps={"up: daemons awaited": 21})
    assert "3.10x (3.10x) ≤ 3x MISSED" in scale.line(made)
    assert scale.line(made).endswith("of it BGP 21.0 s ≤ 20 s MISSED")
    assert scale.line(scale.Scaled(mode="x", why_not="no such thing")).split() == [
        "x",
        "cannot:",
        "no",
        "such",
        "thing",
    ]


def test_a_clock_that_tells_of_others_is_not_believed_but_processors_time_is():
    assert scale.verdict(scaled(apply_s=4, apply_cpu_s=2, others=0.5)).startswith("by the CPUs' time")
    assert scale.verdict(scaled(apply_s=4, apply_cpu_s=2, others=0.0)) == "MISSED"
    assert scale.verdict(scaled(apply_s=4, apply_cpu_s=4, others=0.5)) == "MISSED"


def scaled(**given):
    return scale.Scaled(mode="calico-bgp", objects=9, floor_s=1, floor_cpu_s=1, **given)


def test_a_mode_that_cannot_be_measured_keeps_no_other_from_it():
    found = scale.attempted("nonsense", 2, 5, whole=False)
    assert "nonsense, which is no mode" in found.why_not
