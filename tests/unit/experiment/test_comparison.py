"""The comparison of modes: who is visited when, and who is asked no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from small_testbed import Nothing, SmallTestbed

from emu.capture import decode, pcapng
from emu.errors import InputError, MissingFeature
from emu.experiment.comparison import cluster, facts, rounds
from emu.experiment.measuring import parsed_throughput
from emu.experiment.model import Experiment
from emu.experiment.testbed import Ran
from emu.planners.cni import MODES
from emu.report.comparison import Comparison

REFERENCE = Path(__file__).parents[3] / "captures" / "reference"
PACKETS = "pod-to-pod-other-node/all.pcapng"
LINK = '[{"mtu": 1450, "qdisc": "noqueue", "stats64": {"tx": {"bytes": 98, "packets": 1}}}]'
IPERF = json.dumps(
    {
        "intervals": [{"sum": {"bits_per_second": 4e9}}, {"sum": {"bits_per_second": 2e9}}],
        "end": {
            "sum_received": {"bits_per_second": 3e9},
            "sum_sent": {"retransmits": 7},
            "cpu_utilization_percent": {"host_total": 60.0, "remote_total": 30.0},
        },
    }
)
SAYS = {
    "ping": "time=0.1 ms\n" * 3,
    "ip -j": LINK,
    "ip -4 route": "default via 192.168.100.1 dev eth0\nlocal 127.0.0.1 dev lo table local scope host\n",
    "ip -4 rule": "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n",
    "iptables-nft-save": "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n",
    "iperf3": IPERF,
    "sh": "",
}


def says(_: str, argv: Sequence[str]) -> Ran:
    return Ran(0, next(out for start, out in SAYS.items() if " ".join(argv).startswith(start)))


class Recorded(SmallTestbed):
    """Its captures are one that was made of a real testbed."""

    def capture(self, selectors: Sequence[str], file: Path) -> Nothing:
        shutil.copy(REFERENCE / "two-node-flannel-vxlan" / PACKETS, file)
        return Nothing()


def running(mode: str) -> Recorded:
    topology, manifests = cluster.load_for(mode, f"compare-{mode}", 2)
    experiment = Experiment(name="x", about="", file=Path("x"), topology=topology, manifests=manifests, steps=())
    return Recorded(experiment, says)


class Visits:
    def __init__(self, absent: str = "", lost: str = "") -> None:
        self.absent, self.lost, self.order = absent, lost, list[str]()

    @contextmanager
    def __call__(self, mode: str) -> Iterator[SmallTestbed]:
        self.order.append(mode)
        if mode == self.absent:
            raise MissingFeature("tunnels", module="ipip")
        made = running(mode)
        if mode == self.lost:
            made.seen = lambda way: replace(way, forward=replace(way.forward, hops=way.forward.hops[:2]))
        yield made


def compared(modes: tuple[str, ...], visits: Visits, directory: Path, number: int = 3) -> Comparison:
    wanted = rounds.Wanted(modes=modes, nodes=2, rounds=number, seconds=1, pings=3, together=True)
    return rounds.compare(wanted, visits, directory, lambda *_: None)


def test_each_round_visits_each_mode_once_and_begins_with_another(tmp_path: Path) -> None:
    visits = Visits()
    compared(("flannel-vxlan", "calico-bgp", "canal"), visits, tmp_path)
    proving, *measuring = (visits.order[at : at + 3] for at in range(0, 12, 3))
    assert sorted(proving) == sorted(measuring[0])
    assert [each[0] for each in measuring] == ["flannel-vxlan", "calico-bgp", "canal"]
    assert {frozenset(each) for each in measuring} == {frozenset(proving)}


def test_a_mode_is_measured_in_every_round(tmp_path: Path) -> None:
    (row,) = compared(("flannel-vxlan",), Visits(), tmp_path).rows
    assert row.ok
    assert row.state is not None
    assert (row.state.mtu, row.state.rules, row.state.routes, row.state.ip_rules) == (1450, 1, 1, 0)
    assert row.proof is not None
    assert row.proof.wire == "VXLAN 1, UDP 8472, 192.168.100.11 → 192.168.100.12"
    assert row.proof.overhead_bytes == 50
    assert [(each.mbit, each.retransmissions, each.latencies_us) for each in row.rounds] == [
        (3000.0, 7, (100.0, 100.0, 100.0))
    ] * 3
    assert {each.name for each in (tmp_path / "flannel-vxlan").iterdir()} == {"path.txt", "path.pcapng", "commands.sh"}


def test_what_is_not_there_is_asked_once_and_says_why(tmp_path: Path) -> None:
    visits = Visits(absent="calico-ipip")
    found = compared(("flannel-vxlan", "calico-ipip"), visits, tmp_path)
    assert found.ok
    assert found.rows[1].why_not == "this kernel has no tunnels (kernel module ipip) (modprobe ipip)"
    assert visits.order.count("calico-ipip") == 1


def test_what_fails_by_design_is_proved_and_not_measured(tmp_path: Path) -> None:
    visits = Visits()
    found = compared(("docker",), visits, tmp_path)
    assert found.ok
    assert visits.order == ["docker"]
    (row,) = found.rows
    assert row.proof is not None
    assert not row.proof.delivered
    assert row.proof.told == "it does not leave default/client, which has default/server's address 172.17.0.2 itself"


def test_an_unpredicted_path_is_not_measured_and_fails_the_comparison(tmp_path: Path) -> None:
    visits = Visits(lost="canal")
    found = compared(("canal", "flannel-vxlan"), visits, tmp_path)
    assert not found.ok
    assert visits.order.count("canal") == 1
    assert found.rows[1].ok


@pytest.mark.parametrize(
    ("topology", "more"), [("two-node-flannel-vxlan", 50), ("two-node-calico-ipip", 20), ("two-node-calico-bgp", 0)]
)
def test_overhead_is_what_the_captured_frames_differ_by(topology: str, more: int) -> None:
    records = decode.records(pcapng.read(REFERENCE / topology / PACKETS).frames)
    first, uplink = (
        next(each.point for each in records if str(each.point) == name)
        for name in ("default/client:eth0", "node1:eth0")
    )
    assert facts.overhead(records, first, uplink) == more
    assert facts.overhead([each for each in records if each.point != uplink], first, uplink) is None


def test_iperf3_is_read_as_the_receiver_has_it() -> None:
    stream = parsed_throughput(IPERF)
    assert (stream.mbit, stream.tenths_mbit, stream.retransmissions) == (3000.0, (4000.0, 2000.0), 7)
    assert stream.processors == pytest.approx(0.9)


@pytest.mark.parametrize("mode", [each.NAME for each in MODES])
def test_every_mode_can_have_the_cluster_or_says_what_it_wants(mode: str) -> None:
    try:
        topology, manifests = cluster.load_for(mode, "x", 3)
    except InputError as error:
        assert mode in str(error)
        return
    assert (topology.cni.mode, len(topology.nodes), len(manifests.objects)) == (mode, 3, 3)
