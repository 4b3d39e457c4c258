"""Virtual services of a plan in the kernel: made in one send, read back, mended, changed, taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import lab
import pytest
from stock import alone

from emu.kernel import ipvs, process
from emu.kernel.apply import Kernel
from emu.plan.diff import diff
from emu.plan.drift import drift
from emu.plan.ipvs import Forwarding, RealServer, Taken, VirtualService
from emu.plan.model import NetnsPlan, Plan

pytestmark = [pytest.mark.root, alone]
Sandbox = Callable[[Callable[[], object]], object]

MARK = Taken(mark=258)
ADDRESS = Taken(protocol="tcp", address=ip_address("10.96.0.10"), port=53)
SIX = Taken(family=6, protocol="udp", address=ip_address("fd00:10:96::a"), port=53)
SERVICES = (
    VirtualService(taken=MARK),
    VirtualService(taken=ADDRESS, persistent_s=10800, persistent_prefix=24),
    VirtualService(taken=SIX, scheduler="wrr", flags=("ops",)),
)
SERVERS = (
    RealServer(taken=MARK, address=ip_address("10.0.1.3")),
    RealServer(taken=MARK, address=ip_address("10.0.1.4"), weight=0),
    RealServer(taken=ADDRESS, address=ip_address("10.244.1.2"), port=53),
    RealServer(taken=ADDRESS, address=ip_address("10.244.1.3"), port=53, forwarding=Forwarding.ROUTE, weight=3),
    RealServer(taken=SIX, address=ip_address("fd00:10:244::2"), port=53),
)
LISTED = """\
TCP  10.96.0.10:53 rr persistent 10800 mask 255.255.255.0
  -> 10.244.1.2:53 Masq 1
  -> 10.244.1.3:53 Route 3
UDP  [fd00:10:96::a]:53 wrr ops
  -> [fd00:10:244::2]:53 Masq 1
FWM  258 rr
  -> 10.0.1.3:0 Masq 1
  -> 10.0.1.4:0 Masq 0
"""


def planned(**fields: object) -> Plan:
    plan = lab.plan()
    node = replace(plan.netns["node1"], virtual_services=SERVICES, real_servers=SERVERS, **fields)
    return replace(plan, netns={**plan.netns, "node1": node})


def up(plan: Plan) -> Kernel:
    kernel = Kernel("lab")
    kernel.apply(diff(None, plan), plan)
    return kernel


def wanted(plan: Plan) -> NetnsPlan:
    return plan.netns["node1"]


def drifts(kernel: Kernel, plan: Plan) -> list[str]:
    return [str(each) for each in drift(wanted(plan), kernel.read(wanted(plan)))]


def ipvsadm(kernel: Kernel, *words: str) -> str:
    """Its list without the head, counters and blanks that line up columns."""
    text = process.run(["ipvsadm", *words], ns=kernel.netns("node1")).stdout
    return "".join(f"{_kept(line)}\n" for line in text.splitlines()[3:])


def _kept(line: str) -> str:
    return "  " + " ".join(line.split()[:4]) if line.startswith("  ->") else line.rstrip()


def test_ipvsadm_lists_what_is_planned_and_nothing_drifts(sandbox: Sandbox) -> None:
    def inside() -> object:
        plan = planned()
        kernel = up(plan)
        return sorted(ipvsadm(kernel, "-Ln").splitlines()), drifts(kernel, plan)

    assert sandbox(inside) == (sorted(LISTED.splitlines()), [])


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("-d -f 258 -r 10.0.1.3:0", ["IPVS server 10.0.1.3:0 of FWM  258: missing: -> 10.0.1.3:0 Masq 1"]),
        ("-e -f 258 -r 10.0.1.4:0 -m -w 5", ["IPVS server 10.0.1.4:0 of FWM  258: wanted -> 10.0.1.4:0 Masq 0, got"]),
        ("-a -f 258 -r 10.0.1.9:0 -m", ["IPVS server 10.0.1.9:0 of FWM  258: not in the plan: -> 10.0.1.9:0 Masq 1"]),
        ("-E -f 258 -s wrr", ["IPVS service FWM  258: wanted FWM  258 rr, got FWM  258 wrr"]),
        ("-A -f 300 -s rr", ["IPVS service FWM  300: not in the plan: FWM  300 rr"]),
        (
            "-D -f 258",
            [
                "IPVS service FWM  258: missing: FWM  258 rr",
                "IPVS server 10.0.1.3:0 of FWM  258: missing",
                "IPVS server 10.0.1.4:0 of FWM  258: missing",
            ],
        ),
        ("-C", ["IPVS service FWM  258: missing", *["IPVS "] * 7]),
    ],
)
def test_what_somebody_did_to_it_is_drift_and_is_mended(sandbox: Sandbox, command: str, told: list[str]) -> None:
    def inside() -> object:
        plan = planned()
        kernel = up(plan)
        process.run(["ipvsadm", *command.split()], ns=kernel.netns("node1"))
        found = drift(wanted(plan), kernel.read(wanted(plan)))
        kernel.repair(found)
        return [str(each) for each in found], drifts(kernel, plan)

    found, left = sandbox(inside)  # type: ignore[misc]
    assert left == [] and len(found) == len(told)
    assert all(f"node1: {start}" in said for start, said in zip(told, found, strict=True)), found


def test_a_change_of_plan_changes_what_differs_and_keeps_the_rest(sandbox: Sandbox) -> None:
    def inside() -> object:
        plan = planned()
        kernel = up(plan)
        servers = (replace(SERVERS[0], weight=7), *SERVERS[2:4])
        services = (replace(SERVICES[0], scheduler="wrr"), SERVICES[1])
        node = replace(wanted(plan), virtual_services=services, real_servers=servers)
        new = replace(plan, netns={**plan.netns, "node1": node})
        kernel.apply(diff(plan, new), new)
        listed = ipvsadm(kernel, "-Ln").splitlines()
        none = replace(plan, netns={**plan.netns, "node1": replace(node, virtual_services=(), real_servers=())})
        kernel.apply(diff(new, none), none)
        return sorted(listed), ipvs.read(kernel.netns("node1"))

    kept = [line for line in LISTED.splitlines() if "10.96" in line or "-> 10.244" in line]
    listed, left = sandbox(inside)  # type: ignore[misc]
    assert listed == sorted((*kept, "FWM  258 wrr", "  -> 10.0.1.3:0 Masq 7"))
    assert left == ipvs.Balancer()
