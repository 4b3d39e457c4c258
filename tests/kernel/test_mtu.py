"""Path MTU of each mode: what an oversized packet does, and what a wrong MTU does."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from emu import planners
from emu.api.topology import Cni
from emu.kernel import process
from emu.kernel.apply import Kernel
from emu.plan.diff import diff
from emu.plan.drift import drift
from emu.plan.model import Link, NetnsPlan, Plan, Role

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "planners"))
import shipped
from clusters import cluster

pytestmark = pytest.mark.root
Sandbox = Callable[[Callable[[], object]], object]

HEADERS = 28  # IPv4 and ICMP, around the payload that ping counts
CLIENT, SERVER = "default.web-1-0", "10.244.2.2"
ARRIVED = ""


def planned(mode: str, **options: object) -> Plan:
    base = cluster()
    return planners.build(replace(base, topology=replace(base.topology, cni=Cni(mode=mode, options=options))))


def with_mtu(plan: Plan, mtu: int, of: Callable[[NetnsPlan, Link], bool]) -> Plan:
    """The plan with another MTU on some links."""
    changed = {
        name: replace(netns, links=tuple(replace(link, mtu=mtu) if of(netns, link) else link for link in netns.links))
        for name, netns in plan.netns.items()
    }
    return replace(plan, netns=changed)


def ping(kernel: Kernel, netns: str, address: str, length: int, *, fragment: bool = False) -> str:
    """One packet of that many bytes; what ping says of its fate, `ARRIVED` when it was answered."""
    how = "dont" if fragment else "do"
    argv = ["ping", "-c1", "-W2", "-M", how, "-s", str(length - HEADERS), address]
    done = process.run(argv, ns=kernel.netns(netns), check=False)
    if done.code == 0:
        return ARRIVED
    said = re.search(r"message too long, mtu=\d+|From \S+ icmp_seq=1 .*", done.stdout + done.stderr)
    return said[0] if said else "no answer"


def pings(plan: Plan, *lengths: int) -> Callable[[], list[str]]:
    """A ping of each length from one Node's Pod to the other's."""

    def run() -> list[str]:
        kernel = Kernel("lab")
        kernel.apply(diff(None, plan), plan)
        return [ping(kernel, CLIENT, SERVER, length) for length in lengths]

    return run


@pytest.mark.parametrize(
    ("mode", "options", "mtu"),
    [("flannel-host-gw", {}, 1500), ("flannel-vxlan", {}, 1450), ("canal", {"veth_mtu": 1450}, 1450)],
)
def test_a_packet_of_the_modes_mtu_arrives_and_a_longer_one_does_not_leave_the_pod(
    sandbox: Sandbox, mode: str, options: dict[str, object], mtu: int
) -> None:
    assert sandbox(pings(planned(mode, **options), mtu, mtu + 1)) == [ARRIVED, f"message too long, mtu={mtu}"]


def test_canals_pods_are_told_by_their_node_what_the_tunnel_takes(sandbox: Sandbox) -> None:
    """Felix knows nothing of flannel.1 and gives Pods the uplink's MTU."""
    assert sandbox(pings(planned("canal"), 1500, 1450)) == [
        "From 192.168.100.11 icmp_seq=1 Frag needed and DF set (mtu = 1450)",
        ARRIVED,
    ]


def test_with_pods_of_the_uplinks_mtu_the_node_in_front_of_the_tunnel_says_what_fits(sandbox: Sandbox) -> None:
    """FLANNEL_MTU wrong: the packet reaches flannel.1, which takes 1450. The Pod then knows, for this destination."""
    pod_side = (Role.POD_ETH, Role.HOST_VETH, Role.BRIDGE)
    plan = with_mtu(planned("flannel-vxlan"), 1500, lambda _, link: link.role in pod_side)
    assert sandbox(pings(plan, 1500, 1450)) == [
        "From 10.244.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1450)",
        ARRIVED,
    ]


def calico() -> tuple[Plan, str]:
    """And the address of a Pod of the other Node than the client's."""
    pods = shipped.cluster("two-node-calico-vxlan").pods
    return shipped.plan("two-node-calico-vxlan"), next(str(p.addresses[0]) for p in pods if p.name == "client2")


def calico_pings(plan: Plan, target: str, *lengths: int) -> Callable[[], list[str]]:
    def run() -> list[str]:
        kernel = Kernel("lab")
        kernel.apply(diff(None, plan), plan)
        return [ping(kernel, "default.client", target, length) for length in lengths]

    return run


def test_calico_vxlan_leaves_pods_what_flannel_leaves_them(sandbox: Sandbox) -> None:
    assert sandbox(calico_pings(*calico(), 1450, 1451)) == [ARRIVED, "message too long, mtu=1450"]


def test_a_node_whose_calico_link_has_no_address_speaks_with_its_own(sandbox: Sandbox) -> None:
    """veth_mtu wrong: vxlan.calico takes 1450, and the Node says so with the address of its uplink."""
    plan, target = calico()
    wide = with_mtu(plan, 1500, lambda _, link: link.role in (Role.POD_ETH, Role.HOST_VETH))
    assert sandbox(calico_pings(wide, target, 1500, 1450)) == [
        "From 192.168.100.11 icmp_seq=1 Frag needed and DF set (mtu = 1450)",
        ARRIVED,
    ]


def test_with_the_pods_end_alone_too_large_the_link_swallows_the_packet_without_a_word(sandbox: Sandbox) -> None:
    """A veth takes nothing longer than its other end's MTU (with room for a VLAN tag); no IP is there to answer."""
    plan = with_mtu(planned("flannel-vxlan"), 1500, lambda _, link: link.role is Role.POD_ETH)
    assert sandbox(pings(plan, 1500, 1450)) == ["no answer", ARRIVED]


def test_a_tunnel_as_wide_as_the_uplink_is_cut_down_by_the_kernel_and_is_drift(sandbox: Sandbox) -> None:
    plan = with_mtu(planned("flannel-vxlan"), 1500, lambda _, link: link.role is Role.TUNNEL)

    def run() -> list[str]:
        kernel = Kernel("lab")
        kernel.apply(diff(None, plan), plan)
        node1 = plan.netns["node1"]
        return [str(each) for each in drift(node1, kernel.read(node1))]

    assert sandbox(run) == ["node1: link flannel.1: wanted mtu 1500, got mtu 1450"]


def test_a_router_with_a_smaller_link_behind_it_fragments_the_tunnel_and_stops_a_nodes_own_packet(
    sandbox: Sandbox,
) -> None:
    """1400 between r1 and rack2. VXLAN's outer header has no DF, whatever the inner one says: a Pod's packet goes on in
    pieces and is put together at the other Node. A Node's own packet with DF ends here."""
    whole = shipped.plan("two-racks-flannel-vxlan")
    plan = with_mtu(whole, 1400, lambda netns, link: on_rack2(netns.name, link))
    target = next(str(p.addresses[0]) for p in shipped.cluster("two-racks-flannel-vxlan").pods if p.node == "node3")

    def run() -> list[object]:
        kernel = Kernel("lab")
        kernel.apply(diff(None, plan), plan)
        return [
            ping(kernel, "default.client", target, 1450),
            fragments(kernel, "r1") > 0,
            ping(kernel, "node1", "192.168.101.13", 1500),
            ping(kernel, "node1", "192.168.101.13", 1400),
        ]

    assert sandbox(run) == [
        ARRIVED,
        True,
        "From 192.168.100.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)",
        ARRIVED,
    ]


def on_rack2(netns: str, link: Link) -> bool:
    uplinks = {("r1", "eth1"), ("node3", "eth0"), ("node4", "eth0")}
    return link.owner == "rack2" or (netns, link.name) in uplinks


def fragments(kernel: Kernel, netns: str) -> int:
    """How many pieces IP has cut packets into there (FragCreates of /proc/net/snmp)."""
    text = process.run(["cat", "/proc/thread-self/net/snmp"], ns=kernel.netns(netns)).stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
    return int(dict(zip(names, values, strict=True))["FragCreates"])
