"""What the kernel holds, read back in plan shapes; what somebody changed, found and mended."""

from __future__ import annotations

import logging
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import lab
import pytest
from test_apply import pings, up

from emu.kernel import process
from emu.plan.drift import drift
from emu.plan.model import Address, PolicyRule, Route, Sysctl

pytestmark = pytest.mark.root


def drifts(kernel, plan):
    return [d for space in plan.netns.values() for d in drift(space, kernel.read(space))]


def test_what_is_read_is_what_was_planned(sandbox):
    def inside():
        plan = lab.plan(nodes=3, pods=2)
        kernel = up(plan)
        return [str(d) for d in drifts(kernel, plan)]

    assert sandbox(inside) == []


def planned(values):
    """Without the routes the kernel makes for addresses."""
    return {value for value in values if getattr(value, "protocol", "") != "kernel"}


def test_reading_gives_equal_values_not_only_near_ones(sandbox):
    def inside():
        plan = lab.plan()
        kernel = up(plan)
        fields = ("links", "addresses", "routes", "rules", "neighbors", "fdb", "sysctls")
        return [
            (space.name, field, different)
            for space in plan.netns.values()
            for field in fields
            if (different := set(getattr(space, field)) ^ planned(getattr(kernel.read(space), field)))
        ]

    assert sandbox(inside) == []


@pytest.mark.parametrize(
    ("where", "command", "found"),
    [
        ("node1", "ip route del 10.244.2.0/24", "route 10.244.2.0/24"),
        ("node1", "bridge fdb del 02:00:00:04:02:00 dev flannel.1", "FDB entry 02:00:00:04:02:00 dev flannel.1"),
        ("node1", "ip neigh del 10.244.2.0 dev flannel.1", "neighbor 10.244.2.0 dev flannel.1"),
        ("node1", "sysctl -w net.ipv4.ip_forward=0", "sysctl net.ipv4.ip_forward"),
        ("node1", "ip link set cni0 down", "link cni0"),
        ("node1", "ip link del flannel.1", "link flannel.1"),
        ("node1", "ip link del cni0", "link cni0"),
        ("node1", "ip address del 10.244.1.1/24 dev cni0", "address 10.244.1.1/24"),
        ("node1", "ip link set veth00010001 nomaster", "link veth00010001"),
        ("node1", "ip link del veth00010001", "link veth00010001"),
        ("default.p1-1", "ip route del default", "route 0.0.0.0/0"),
        ("default.p1-1", "ip link set eth0 mtu 1300", "link eth0"),
        ("node1", "ip rule del priority 512", "ip rule 512"),
        ("node1", "ip route add blackhole 10.244.2.2/32", "route 10.244.2.2/32"),
    ],
)
def test_what_somebody_broke_is_named_and_mended(sandbox, where, command, found):
    def inside():
        plan = lab.plan()
        kernel = up(plan)
        process.run(command.split(), ns=kernel.netns(where))
        seen = drifts(kernel, plan)
        kernel.repair(seen)
        left = [str(d) for d in drifts(kernel, plan)]
        return [(d.netns, d.what) for d in seen], left, pings(kernel, "default.p1-1", "10.244.2.2")

    seen, left, works = sandbox(inside)
    assert (where, found) in seen
    assert left == []
    assert works


def test_ipv6_and_policy_routing_are_read_back_equal(sandbox):
    def inside():
        plan = lab.plan()
        node = plan.netns["node2"]
        on = (Sysctl(key="net.ipv6.conf.all.disable_ipv6", value="0"), *node.sysctls[2:])
        new = replace(
            node,
            sysctls=on,
            addresses=(
                *node.addresses,
                Address(dev="eth0", address=ip_interface("fd00:100::12/64")),
                Address(dev="eth0", address=ip_interface("10.0.9.1/20"), prefix_route=False),
            ),
            routes=(
                *node.routes,
                Route(dst=ip_network("fd00:244::/48"), via=ip_address("fd00:100::1"), dev="eth0"),
                Route(dst=ip_network("fd00:9::/64"), type="blackhole", metric=50),
                Route(dst=ip_network("10.9.0.0/16"), via=ip_address("192.168.100.1"), dev="eth0", table=1000),
                Route(dst=ip_network("10.8.0.0/16"), dev="eth0", scope="link", src=ip_address("192.168.100.12")),
            ),
            rules=(
                PolicyRule(priority=1024, table=1000, fwmark=0x80, fwmask=0x80),
                PolicyRule(priority=1025, table=1000, src=ip_network("fd00:244::/48"), iif="eth0"),
            ),
        )
        kernel = up(replace(plan, netns={**plan.netns, "node2": new}))
        got = kernel.read(new)
        fields = ("addresses", "routes", "rules")
        # eth0 of an IPv6 namespace has a link-local address besides: the kernel's own.
        return [x for f in fields for x in set(getattr(new, f)) ^ planned(getattr(got, f)) if not link_local(x)]

    assert sandbox(inside) == []


def link_local(value: object) -> bool:
    return isinstance(value, Address) and value.address.is_link_local


def test_each_change_is_logged_as_a_line_to_paste(sandbox):
    def inside():
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.extend(record.getMessage().splitlines())
        logging.getLogger("emu.kernel").addHandler(handler)
        logging.getLogger("emu.kernel").setLevel(logging.INFO)
        up(lab.plan())
        return lines

    lines = sandbox(inside)
    assert "fabric# ip netns add node1" in lines
    assert "node1# ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in lines
    assert "default.p1-1# ip address add 10.244.1.2/24 dev eth0" in lines
    assert "node1# bridge link set dev veth00010001 hairpin on" in lines
