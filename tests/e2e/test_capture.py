"""Captures of a running cluster: what is in them, what is not, and readers that go away."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

import pytest
from inside import out, pods, wait_until
from proving import inside, shell

from emu.api.objects import Deployment, Pod
from emu.capture import pcapng
from emu.capture.decode import records
from emu.capture.frame import Capture
from emu.capture.points import all_points
from emu.capture.recorder import Recorder, opener
from emu.kernel import process
from emu.plan.model import Role
from emu.testbed.facade import Testbed
from emu.trace.model import PacketRecord

pytestmark = pytest.mark.root
IDLE_S = 10.0


class Running:
    """A capture in a thread, armed when the constructor returns."""

    def __init__(self, lab: Testbed, selectors: Sequence[str], fd: int) -> None:
        self.points: tuple[str, ...] = ()
        self.drops: dict[str, int] = {}
        self.ended = threading.Event()
        self._until, self._armed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(lab, selectors, fd), daemon=True)
        self._thread.start()
        assert self._armed.wait(5)

    def _run(self, lab: Testbed, selectors: Sequence[str], fd: int) -> None:
        self.drops = dict(lab.capture(selectors, fd, self._until, self._arm))
        self.ended.set()

    def _arm(self, points: Sequence[str]) -> None:
        self.points = tuple(points)
        self._armed.set()

    def stop(self) -> None:
        self._until.set()
        assert self.ended.wait(5), "the capture has not ended"


@contextmanager
def capturing(lab: Testbed, *selectors: str) -> Iterator[tuple[Running, Path]]:
    fd, name = mkstemp(suffix=".pcapng", dir="/run")  # the lab's own, gone with it
    running = Running(lab, selectors, fd)
    yield running, Path(name)
    running.stop()
    os.close(fd)


def tshark(path: Path, *options: str) -> list[str]:
    return process.run(
        ["tshark", "-n", "-d", "udp.port==8472,vxlan", "-r", str(path), *options], timeout_s=30
    ).stdout.splitlines()


def _allowed(record: PacketRecord) -> bool:
    """What a real cluster sends while nobody uses it. Anything else is a fault."""
    if record.inner is None:
        # A Pod that was probed and its Node confirm their neighbor entries, 5 s after they were last used.
        mine = r"10\.244\.[12]\.(?:1|2)"  # the gateway's, CoreDNS's
        return re.fullmatch(rf"ARP (who has {mine}\? tell {mine}|{mine} is at \S+)", record.summary) is not None
    if _of_bridge(record):
        return True
    # The kubelet of its Node asks each CoreDNS Pod every 10 s whether it lives (8080) and is ready (8181).
    return record.inner.proto == "tcp" and bool({record.inner.sport, record.inner.dport} & {8080, 8181})


def _of_bridge(record: PacketRecord) -> bool:
    """A bridge with an address tells its ports which multicast groups it is in (IGMP, RFC 3376), once it is up and some
    time later again."""
    inner = record.inner
    return inner is not None and inner.proto == "2" and str(inner.dst) == "224.0.0.22" and str(inner.src).endswith(".1")


def test_ten_idle_seconds_hold_nothing_but_what_a_real_cluster_sends() -> None:
    def run(lab: Testbed) -> list[tuple[str, str]]:
        assert lab.plan is not None
        recorder = Recorder(all_points(lab.plan), opener(lab.host.netns))
        threading.Event().wait(IDLE_S)
        found = records(recorder.stop().frames)
        strange = [each for each in found if not _allowed(each)]
        between = [each for each in found if each.point.ifname in ("eth0", "flannel.1") and "." not in each.point.netns]
        return [(str(each.point), each.summary or str(each.inner)) for each in (*strange, *between)]

    assert inside(run) == []


def test_one_file_has_an_interface_for_each_point_named_after_it() -> None:
    def run(lab: Testbed) -> tuple[tuple[str, ...], list[str], list[str], dict[str, int]]:
        with capturing(lab) as (running, path):
            out(lab, "client", "curl -s nginx-svc")
        described = process.run(["capinfos", "-M", str(path)]).stdout
        names = re.findall(r"Name = (.*)", described)
        fields = ["-Y", "tcp.flags.syn==1 && tcp.flags.ack==0", "-T", "fields", "-e", "frame.interface_name"]
        return running.points, names, tshark(path, *fields), running.drops

    points, names, syn_at, drops = inside(run)
    assert tuple(names) == points
    assert len(points) == len(set(points))
    assert [name.partition(":")[2] for name in syn_at if "veth" not in name and "coredns" not in name] == [
        "eth0", "cni0", "flannel.1", "eth0", "fabric-node1", "fabric-node2", "eth0", "flannel.1", "cni0", "eth0",
    ]  # fmt: skip
    assert drops == {}


def test_no_packet_of_what_follows_is_missed_at_any_point() -> None:
    """Armed is armed at all points together: the first packet sent afterwards is everywhere on its way."""

    def run(lab: Testbed) -> list[int]:
        counts = []
        for _ in range(5):
            with capturing(lab) as (_, path):
                out(lab, "client", ["ping", "-c1", "-W2", pods(lab, "nginx")[0].status.pod_ip])
            counts.append(len(tshark(path, "-Y", "icmp.type==8")))
        return counts

    assert inside(run) == [12] * 5


def test_a_selector_takes_only_its_interfaces() -> None:
    def run(lab: Testbed) -> tuple[tuple[str, ...], set[str]]:
        with capturing(lab, "node1:cni0", "pod/client") as (running, path):
            out(lab, "client", "curl -s nginx-svc")
        return running.points, {str(frame.point) for frame in pcapng.read(path).frames}

    points, seen = inside(run)
    assert set(points) == seen == {"node1:cni0", "default/client:eth0"}


def test_a_pipe_gets_packets_while_they_pass_and_may_be_closed_at_any_time() -> None:
    def run(lab: Testbed) -> tuple[bytes, bool, str]:
        reading, writing = os.pipe()
        running = Running(lab, ["node1"], writing)
        address = pods(lab, "nginx")[0].status.pod_ip
        out(lab, "client", ["ping", "-c1", "-W2", "-p", "cafe", address])
        streamed = b""
        while b"\xca\xfe\xca\xfe" not in streamed:  # ends only if it comes while the capture runs
            streamed += os.read(reading, 65536)
        os.close(reading)
        out(lab, "client", ["ping", "-c1", "-W2", address])
        ended = running.ended.wait(5)
        os.close(writing)
        return streamed[:4], ended, out(lab, "client", "curl -s -o /dev/null -w '%{http_code}' nginx-svc")

    magic, ended, status = inside(run)
    assert magic == b"\x0a\x0d\x0d\x0a"
    assert ended, "with its reader gone the capture ends by itself"
    assert status == "200"


def test_pods_may_come_and_go_under_a_capture() -> None:
    def run(lab: Testbed) -> tuple[Capture, set[str], str, str]:
        gone = pods(lab, "web")[0]
        before = {each.metadata.name for each in pods(lab, "web")}
        with capturing(lab) as (_, path):
            lab.scale((Deployment.KIND, "default", "web"), 4)
            lab.wait_ready(8)
            come = [each for each in pods(lab, "web") if each.metadata.name not in before]
            for each in come:
                out(lab, "client", ["ping", "-c1", "-W2", each.status.pod_ip])
            lab.delete([(Pod.KIND, "default", gone.metadata.name)], 0)
            wait_until(lambda: gone.metadata.name not in {p.metadata.name for p in pods(lab, "web")}, "the Pod is gone")
            lab.wait_ready(8)
            out(lab, "client", "curl -s nginx-svc")
        return pcapng.read(path), {each.metadata.name for each in come}, gone.metadata.name, str(lab.check())

    capture, come, gone, drift = inside(run)
    assert drift == "()"
    found = records(capture.frames)
    pinged = {each.point.netns.partition(".")[2] for each in found if each.inner and each.inner.proto == "icmp"}
    assert come and come < pinged, "what comes is captured too"
    others = [each for each in found if not _of_bridge(each)]
    first = {each.point.owner: each.summary for each in reversed(others) if each.point.role is Role.POD_ETH}
    assert {name: first[f"default/{name}"] for name in come if not first[f"default/{name}"].startswith("ARP")} == {}, (
        "from the first packet on"
    )
    last = {str(frame.point): frame.time_ns for frame in capture.frames}
    assert "default/client:eth0" in last, "what stays is captured on"
    assert last.get(f"default/{gone}:eth0", 0) < last["default/client:eth0"]


def test_a_point_whose_interface_somebody_deleted_ends_no_capture() -> None:
    def run(lab: Testbed) -> tuple[tuple[str, ...], int]:
        shell(lab, "node2", "ip link del flannel.1")
        with capturing(lab, "node1", "node2") as (running, path):
            out(lab, "client", "curl -s -m1 nginx-svc || true")
        return running.points, len(pcapng.read(path).frames)

    points, count = inside(run)
    assert "node2:flannel.1" not in points
    assert "node1:flannel.1" in points
    assert count > 0
