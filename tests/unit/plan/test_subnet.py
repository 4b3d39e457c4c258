"""A cloud's subnet as nft takes it: one transaction to make it, and what takes each part away again."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from emu.plan import subnet
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort

NETWORK = ip_network("10.0.0.0/20")
TABLE = Subnet(network=NETWORK, router=ip_address("10.0.0.1"))
PORT = SubnetPort(network=NETWORK, dev="node1-eth0")
POD = SubnetAddress(network=NETWORK, address=ip_network("10.0.1.2"), mac="02:00:00:00:00:0a")
PREFIX = SubnetAddress(network=NETWORK, address=ip_network("10.0.2.0/28"), mac="02:00:00:00:00:0b")


def test_a_table_has_its_sets_and_rules_once_however_often_it_is_made() -> None:
    lines = [line.replace("netdev subnet-10.0.0.0/20 ", "") for line in subnet.additions((TABLE,))]
    assert lines == [
        "add table netdev subnet-10.0.0.0/20",
        "add map macs { type ipv4_addr : ether_addr; flags interval; }",
        "add set frames { type ether_addr . ipv4_addr; flags interval; }",
        "add chain in", "flush chain in", "add chain out", "flush chain out",
        "add rule in ether daddr . ip daddr @frames meta pkttype set host meta mark set 1",
        "add rule out arp operation reply arp saddr ether set arp saddr ip map @macs "
        "ether saddr set arp saddr ip map @macs accept",
        "add rule out arp operation reply arp saddr ip != 10.0.0.1 drop",
        "add rule out meta mark 1 ether saddr set ip saddr map @macs",
    ]  # fmt: skip


def test_addresses_of_one_table_are_added_together() -> None:
    assert list(subnet.additions((POD, PREFIX))) == [
        "add element netdev subnet-10.0.0.0/20 macs "
        "{ 10.0.1.2 : 02:00:00:00:00:0a, 10.0.2.0/28 : 02:00:00:00:00:0b }",
        "add element netdev subnet-10.0.0.0/20 frames "
        "{ 02:00:00:00:00:0a . 10.0.1.2, 02:00:00:00:00:0b . 10.0.2.0/28 }",
    ]  # fmt: skip


def test_a_port_is_at_both_hooks_of_its_link() -> None:
    assert [line for line in subnet.additions((PORT,)) if "hook" in line] == [
        f'add chain netdev subnet-10.0.0.0/20 {way}-node1-eth0 {{ type filter hook {hook} device "node1-eth0" '
        "priority filter; }"
        for way, hook in (("in", "ingress"), ("out", "egress"))
    ]


def test_each_is_taken_away_by_what_it_is_called() -> None:
    assert subnet.command(TABLE, remove=True) == "nft 'delete table netdev subnet-10.0.0.0/20'"
    assert subnet.command(PORT, remove=True) == (
        "nft 'delete chain netdev subnet-10.0.0.0/20 in-node1-eth0; "
        "delete chain netdev subnet-10.0.0.0/20 out-node1-eth0'"
    )
    assert subnet.command(PREFIX, remove=True) == (
        "nft 'delete element netdev subnet-10.0.0.0/20 macs { 10.0.2.0/28 }; "
        "delete element netdev subnet-10.0.0.0/20 frames { 02:00:00:00:00:0b . 10.0.2.0/28 }'"
    )
