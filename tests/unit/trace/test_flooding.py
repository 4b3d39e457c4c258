from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from trace_plans import cluster
from trace_records import records

from emu.plan.model import Role
from emu.trace.flooding import without_copies
from emu.trace.model import CapturePoint, Direction, Flow, PacketRecord
from emu.trace.predict import predict

PLAN = cluster()
TO_B2 = records(predict(PLAN, Flow(netns="default.a2", dst=ip_address("10.244.2.2"), proto="tcp", dport=8080)).paths[0])
OTHER_PORT = CapturePoint("node2", "vethb3", Role.HOST_VETH, "default/b3", "node2")
OTHER_POD = CapturePoint("default.b3", "eth0", Role.POD_ETH, "default/b3", "default/b3")


def _copies() -> list[PacketRecord]:
    """What leaves node2 for Pod b2, sent out of b3's port as well."""
    leaving = next(r for r in TO_B2 if r.point.ifname == "vethb2" and r.direction is Direction.OUT)
    at_port = replace(leaving, point=OTHER_PORT)
    return [at_port, replace(at_port, point=OTHER_POD, direction=Direction.IN)]


def test_a_packet_that_was_not_flooded_keeps_every_record() -> None:
    assert without_copies(TO_B2, PLAN) == (tuple(TO_B2), ())


def test_copies_that_nobody_takes_are_left_out_and_told() -> None:
    kept, notes = without_copies([*_copies(), *TO_B2], PLAN)
    assert set(kept) == set(TO_B2)
    mac = _copies()[0].dst_mac
    assert notes == (f"node2:cni0 had no entry for {mac} and sent copies to all ports (vethb3): nobody took them",)


def test_copies_alone_are_all_there_is_to_see() -> None:
    strays = [r for r in TO_B2 if r.point.ifname != "vethb2" and r.point.netns != "default.b2"]
    every = [*strays, *_copies()]
    kept, notes = without_copies(every, PLAN)
    assert set(kept) == set(every)
    assert notes == ()
