"""A fabric that forwards node addresses alone: what passes its rules, and that other fabrics have none."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from clusters import cluster

from emu.api.topology import Fabric
from emu.netfilter.evaluate import Choices, PacketView, walk
from emu.plan.merge import merge
from emu.plan.model import NetnsPlan
from emu.planners import underlay


def fabric(forwards: str, family: str = "ipv4") -> NetnsPlan:
    made = cluster(2, 1, 1, family)
    topology = replace(made.topology, fabric=Fabric(forwards=forwards))
    return merge(underlay.plan(replace(made, topology=topology)))["fabric"]


def verdict(plan: NetnsPlan, src: str, dst: str) -> str:
    packet = PacketView(src=ip_address(src), dst=ip_address(dst), proto="udp", sport=1, dport=2, iif="sw", oif="sw")
    (outcome,) = walk(plan.tables, "FORWARD", packet, Choices(is_local=lambda _: False))
    return outcome.verdict


@pytest.mark.parametrize(
    ("src", "dst", "passes"),
    [
        ("192.168.100.11", "192.168.100.12", True),
        ("10.244.1.2", "10.244.2.2", False),
        ("192.168.100.11", "10.244.2.2", False),
        ("10.244.1.2", "192.168.100.12", False),
        ("fd00:100::b", "fd00:100::c", True),
        ("fd00:10:244:1::2", "fd00:10:244:2::2", False),
        ("fe80::1", "fd00:100::c", True),
        ("fd00:100::b", "ff02::1:ff00:c", True),
    ],
)
def test_node_addresses_pass_and_no_others(src: str, dst: str, passes: bool) -> None:
    assert verdict(fabric("node-addresses", "ipv4-ipv6"), src, dst) == ("ACCEPT" if passes else "DROP")


def test_it_is_asked_for_and_in_the_families_of_the_cluster_alone() -> None:
    plain, cloud = fabric("everything"), fabric("node-addresses")
    calls = {each.key: each.value for each in cloud.sysctls if "bridge-nf-call" in each.key}
    assert plain.tables == ()
    assert [(table.family, table.name) for table in cloud.tables] == [(4, "filter")]
    assert calls == {
        "net.bridge.bridge-nf-call-iptables": "1",
        "net.bridge.bridge-nf-call-ip6tables": "0",
        "net.bridge.bridge-nf-call-arptables": "0",
    }
