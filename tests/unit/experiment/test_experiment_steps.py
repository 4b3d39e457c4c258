"""What each kind of step asks of a testbed, and what it makes of the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from documented import ROOT
from small_testbed import SmallTestbed, parsed

from emu.errors import InputError
from emu.experiment import load, runner, statistics
from emu.experiment.model import Outcome, StepResult
from emu.experiment.testbed import Ran
from emu.trace.model import Leg, Verdict
from emu.trace.model import Path as Way


def ran(steps: str, tmp_path: Path, *answers: Ran, prepare: object = None) -> tuple[SmallTestbed, StepResult]:
    """The last step's result; programs answer in turn, the last answer for good."""
    experiment = parsed(steps)
    left = list(answers or [Ran(0, "")])
    testbed = SmallTestbed(experiment, lambda *_: left.pop(0) if left[1:] else left[0])
    if callable(prepare):
        prepare(testbed)
    return testbed, runner.run(experiment, testbed, tmp_path).steps[-1]


@pytest.mark.parametrize(
    ("fields", "answer", "expected", "got"),
    [
        ("", Ran(0, "fine"), "", ""),
        ("", Ran(2, ""), "exit status 0", "2"),
        ("status: 2", Ran(2, ""), "", ""),
        ("output: [a, b]", Ran(0, "a b"), "", ""),
        ("output: [a, c]", Ran(0, "a b"), "output with 'c'", "'a b'"),
        ("without: b", Ran(0, "a b"), "output without 'b'", "'a b'"),
        ("matches: '^b'", Ran(0, "a\nb"), "", ""),
        ("matches: '^c'", Ran(0, "a\nb"), "output that matches ^c", "'a' and 1 more lines"),
        ("output: oops", Ran(0, "", "oops"), "", ""),
        ("", Ran(-1, ""), "it to end", "it had not after 10 s"),
    ],
)
def test_run(fields: str, answer: Ran, expected: str, got: str, tmp_path: Path) -> None:
    testbed, result = ran(f"- run: {{in: client, command: cmd, {fields}}}", tmp_path, answer)
    assert testbed.ran == [("default/client", ("sh", "-c", "cmd"))]
    assert (result.expected, result.got) == (expected, got)
    assert result.outcome is (Outcome.FAILED if expected else Outcome.PASSED)


def answers(*bodies: str) -> Ran:
    return Ran(0, "".join(f"{body}\x01200\x01" for body in bodies))


def test_request_tells_pods_by_the_address_or_name_in_the_answer(tmp_path: Path) -> None:
    steps = "- request: {from: client, to: web/hostname, times: 2, answered_by: app=web}"
    testbed = SmallTestbed(parsed(steps))
    one, two = (each for each in testbed.world.pods if each.metadata.labels.get("app") == "web")
    _, good = ran(steps, tmp_path, answers(one.metadata.name, f"I am {two.status.pod_ip}:80"))
    assert good.outcome is Outcome.PASSED
    evenly = steps.replace("times: 2", "times: 30, evenly: true")
    _, silent = ran(evenly, tmp_path, answers(*[one.metadata.name] * 30))
    assert (silent.expected, silent.got) == (
        "every one of the Pods to answer", f"nothing from {two.metadata.name}"
    )  # fmt: skip
    _, other = ran(steps, tmp_path, answers(one.metadata.name, f"I am {two.status.pod_ip}0"))
    assert other.got == "one that names none of them"


@pytest.mark.parametrize(
    ("fields", "answer", "got"),
    [
        ("status: 404", answers("x"), "status 200"),
        ("body: y", answers("x"), "one without"),
        ("times: 3", answers("x", "x"), "2 answers"),
        ("", Ran(7, "\x01000\x01", "refused"), "none"),
    ],
)
def test_request_says_what_was_wrong(fields: str, answer: Ran, got: str, tmp_path: Path) -> None:
    assert ran(f"- request: {{from: client, to: web, {fields}}}", tmp_path, answer)[1].got == got


def test_a_choice_is_even_if_chance_could_make_it() -> None:
    assert statistics.even([22, 18, 20])
    assert statistics.even([5])
    assert not statistics.even([60, 0, 0])
    assert statistics.chance(9.488, 4) == pytest.approx(0.05, rel=1e-3)  # as tables have it
    assert statistics.chance(7.815, 3) == pytest.approx(0.05, rel=1e-3)
    assert statistics.tries(2) == 21  # twice 2^-21


LINK = '[{"mtu": 1450, "qdisc": "noqueue", "stats64": {"tx": {"bytes": 98, "packets": 1}}}]'


def test_spread_is_told_with_a_measurement(tmp_path: Path) -> None:
    pings = "".join(f"time=0.{each} ms\n" for each in (100, 200, 300))
    steps = "- measure: {what: latency, from: client, to: client2, count: 3}"
    _, result = ran(steps, tmp_path, Ran(0, pings), Ran(0, LINK))
    assert (result.numbers["median_us"], result.numbers["least_us"], result.numbers["most_us"]) == (200, 100, 300)
    assert "qdisc noqueue, mtu 1450; load " in result.text


def test_throughput_is_skipped_where_iperf3_is_not_installed(tmp_path: Path) -> None:
    _, result = ran("- measure: {what: throughput, from: client, to: client2}", tmp_path, Ran(1, ""))
    assert (result.outcome, result.text) == (Outcome.SKIPPED, "iperf3 is not installed (apt-get install iperf3)")


@pytest.mark.parametrize(
    ("answered", "received", "outcome"),
    [
        ("true", 2, Outcome.PASSED),
        ("true", 1, Outcome.FAILED),
        ("false", 0, Outcome.PASSED),
        ("false", 1, Outcome.FAILED),
    ],
)
def test_ping_counts_the_answers(answered: str, received: int, outcome: Outcome, tmp_path: Path) -> None:
    steps = f"- ping: {{from: client, to: client2, count: 2, answered: {answered}}}"
    said = Ran(0 if received else 1, f"2 packets transmitted, {received} received, …")
    testbed, result = ran(steps, tmp_path, said)
    assert result.outcome is outcome
    assert testbed.ran[0][1][-1] == "10.244.2.3"


FDB = "6e:36:c5:55:78:ea dst 192.168.100.12 self permanent\n6e:36:c5:55:78:eb dst 192.168.100.13 self permanent\n"


def test_an_fdb_entry_is_deleted_and_comes_back_as_it_was(tmp_path: Path) -> None:
    fault = "{fdb: flannel.1, to: node2, on: node1}"
    testbed, _ = ran(f"- break: {fault}\n- mend: {fault}", tmp_path, Ran(0, FDB))
    assert [" ".join(argv) for _, argv in testbed.ran] == [
        "bridge fdb show dev flannel.1",
        "bridge fdb del 6e:36:c5:55:78:ea dev flannel.1 dst 192.168.100.12 self",
        "bridge fdb append 6e:36:c5:55:78:ea dev flannel.1 dst 192.168.100.12 self permanent",
    ]


RULES = """*nat
-A KUBE-SERVICES -d 10.96.0.1/32 -m comment --comment "other" -j A
-A KUBE-SERVICES -d 10.96.0.2/32 -m comment --comment "default/web one" -j B
-A KUBE-SVC-X -m comment --comment "default/web two" -j C
-A KUBE-SERVICES -m comment --comment "default/web three" -j D
"""


def test_rules_are_deleted_and_go_back_to_their_places(tmp_path: Path) -> None:
    fault = "{rule: default/web, on: node1}"
    testbed, _ = ran(f"- break: {fault}\n- mend: {fault}", tmp_path, Ran(0, RULES))
    assert [" ".join(argv[3:]) for _, argv in testbed.ran][1:] == [
        "-D KUBE-SERVICES 3",
        "-D KUBE-SVC-X 1",
        "-D KUBE-SERVICES 2",
        "-I KUBE-SERVICES 2 -d 10.96.0.2/32 -m comment --comment default/web one -j B",
        "-I KUBE-SVC-X 1 -m comment --comment default/web two -j C",
        "-I KUBE-SERVICES 3 -m comment --comment default/web three -j D",
    ]


def test_a_sysctl_gets_its_old_value_back(tmp_path: Path) -> None:
    steps = '- break: {sysctl: net.ipv4.ip_forward, value: "0", on: node1}\n- mend: everything'
    testbed, _ = ran(steps, tmp_path, Ran(0, "1\n"))
    assert testbed.ran[-1] == ("node1", ("sysctl", "-qw", "net.ipv4.ip_forward=1"))


FILTER = "filter protocol all pref 1 bpf chain 0 handle 0x1 cil_from_overlay direct-action"


def test_a_program_is_taken_off_its_link_and_comes_back_with_the_whole_plan(tmp_path: Path) -> None:
    fault = "{program: cilium_vxlan ingress, on: node2}"
    testbed, _ = ran(f"- break: {fault}\n- mend: {fault}", tmp_path, Ran(0, FILTER))
    assert testbed.ran[-1] == ("node2", ("tc", "filter", "del", "dev", "cilium_vxlan", "ingress"))
    assert testbed.repairs == 1
    _, result = ran("- break: {program: eth0 egress, on: node1}", tmp_path, Ran(0, ""))
    assert (result.outcome, result.got) == (Outcome.FAILED, "none")


def test_what_is_not_there_cannot_be_broken(tmp_path: Path) -> None:
    _, result = ran("- break: {route: 10.9.0.0/16, on: node1}", tmp_path, Ran(0, ""))
    assert (result.outcome, result.got) == (Outcome.FAILED, "nothing")


def test_an_expected_path_is_the_predicted_one_and_passes_what_is_named_in_order(tmp_path: Path) -> None:
    way = "from: client, to: client2"
    good = "through: ['client:eth0', 'node1:flannel.1', 'node2:*', 'client2:eth0'], encapsulation: vxlan, nat: none"
    assert ran(f"- expect path: {{{way}, {good}}}", tmp_path)[1].outcome is Outcome.PASSED
    for wrong, expected in (
        ("through: ['node1:flannel.1', 'node1:cni0']", "to pass node1:cni0 (as number 2 of those named)"),
        ("avoids: '*:flannel.1'", "to avoid *:flannel.1"),
        ("encapsulation: none", "no encapsulation"),
        ("encapsulation: ipip", "encapsulation ipip"),
        ("nat: DNAT", "nat DNAT"),
        ("causes: via 10.9.9.9", "causes via 10.9.9.9"),
    ):
        assert ran(f"- expect path: {{{way}, {wrong}}}", tmp_path)[1].expected == expected


def _lost_at_flannel(way: Way) -> Way:
    hops = way.forward.hops
    last = next(at for at, hop in enumerate(hops) if hop.point.ifname == "flannel.1")
    return Way(forward=Leg(hops=hops[: last + 1], verdict=Verdict.DROPPED, reason="no FDB entry"))


def test_a_drop_is_expected_at_its_place_for_its_reason(tmp_path: Path) -> None:
    def broken(testbed: SmallTestbed) -> None:
        testbed.seen, testbed.reply = _lost_at_flannel, "no answer"

    drop = "- expect drop: {from: client, to: client2, at: 'node1:%s', because: %s}"
    assert ran(drop % ("flannel.1", "fdb"), tmp_path, prepare=broken)[1].outcome is Outcome.PASSED
    assert ran(drop % ("cni0", "fdb"), tmp_path, prepare=broken)[1].got == "node1:flannel.1"
    assert ran(drop % ("flannel.1", "route"), tmp_path, prepare=broken)[1].expected == "a reason with 'route'"
    assert ran(drop % ("flannel.1", "fdb"), tmp_path)[1].got == "connected"
    path = ran("- expect path: {from: client, to: client2}", tmp_path, prepare=broken)[1]
    assert path.expected == "the predicted path"


def test_silence_is_no_refusal_and_a_late_one_is_not_at_once(tmp_path: Path) -> None:
    def says(text: str) -> object:
        def prepare(testbed: SmallTestbed) -> None:
            testbed.reply = text

        return prepare

    steps = "- expect refusal: {from: client, to: 'empty:80', because: has no endpoints, within_ms: 100}"
    assert ran(steps, tmp_path, prepare=says("no answer"))[1].got == "no answer"
    no = says("Connection refused")
    assert ran(steps, tmp_path, Ran(7, "0.010"), prepare=no)[1].numbers == {"refused_after_ms": 10.0}
    late = ran(steps, tmp_path, Ran(7, "0.200"), prepare=no)[1]
    assert (late.expected, late.got) == ("a refusal within 100 ms", "one after 200.0 ms")


ROWS = ({"NAME": "web-1", "STATUS": "Running"}, {"NAME": "web-2", "STATUS": "Pending"})


@pytest.mark.parametrize(
    ("fields", "expected", "got"),
    [
        ("count: 2", "", ""),
        ("count: 3", "3 rows", "2"),
        ("rows: [{name: web-*, status: Pending}]", "", ""),
        (
            "rows: [{name: web-1, status: Pending}]",
            "a row with NAME web-1  STATUS Pending",
            "NAME web-1  STATUS Running",
        ),
        ("rows: [{state: x}]", "a column state", "NAME, STATUS"),
    ],
)
def test_tables_are_compared_by_the_columns_named(fields: str, expected: str, got: str, tmp_path: Path) -> None:
    def prepare(testbed: SmallTestbed) -> None:
        testbed.rows = lambda: ROWS

    result = ran(f"- expect table: {{of: pods, {fields}}}", tmp_path, prepare=prepare)[1]
    assert (result.expected, result.got) == (expected, got)


def test_waiting_ends_with_the_first_success_and_a_time_out_says_what_was_missing(tmp_path: Path) -> None:
    steps = "- wait until: {timeout_s: 1, run: {in: client, command: x}}"
    testbed, good = ran(steps, tmp_path, Ran(1, ""), Ran(1, ""), Ran(0, ""))
    assert (good.outcome, len(testbed.ran)) == (Outcome.PASSED, 3)
    assert len(good.commands) == 1
    _, late = ran(steps, tmp_path, Ran(1, ""))
    assert (late.expected, late.got) == ("within 1 s exit status 0", "1")


def test_objects_come_and_go(tmp_path: Path) -> None:
    steps = "- scale: {what: deployment/web, replicas: 3}\n- delete: [pod/app=web, service/web]"
    testbed, _ = ran(steps, tmp_path)
    kinds = [each.KIND for each in testbed.world.cluster.objects.values() if each.metadata.labels.get("app") == "web"]
    assert kinds.count("Pod") == 3
    assert ("Service", "default", "web") not in testbed.world.cluster.objects
    assert replace(parsed(steps)).steps[1].title == "delete pod/app=web, service/web"


BGP = ROOT / "topologies" / "two-node-calico-bgp" / "experiments" / "written-in-a-test.yaml"


def test_a_daemon_is_killed_on_its_node_and_mended_by_a_repair(tmp_path: Path) -> None:
    experiment = load.parse("steps:\n- break: {daemon: bird, on: node1}\n- mend: everything", BGP)
    testbed = SmallTestbed(experiment)
    runner.run(experiment, testbed, tmp_path)
    assert (testbed.ran, testbed.repairs) == ([("node1", ("pkill", "-KILL", "-x", "bird"))], 1)


@pytest.mark.parametrize(("name", "on"), [("frr", "node1"), ("bird", "client")])
def test_a_daemon_that_is_not_there_is_refused_before_anything_starts(name: str, on: str) -> None:
    with pytest.raises(InputError, match=f"is {name}, must be one of those of {on}"):
        load.parse(f"steps:\n- break: {{daemon: {name}, on: {on}}}", BGP)
