"""What each plan value becomes on the wire."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from emu.kernel import netlink_links, netlink_routes
from emu.kernel.netlink import attributes
from emu.kernel.netlink_links import Peer
from emu.plan.model import Address, FdbEntry, Link, Neighbor, PolicyRule, Role, Route, Vxlan

VETH = Link(
    name="veth1234abcd",
    kind="veth",
    role=Role.HOST_VETH,
    owner="default/web",
    mtu=1450,
    mac="02:00:00:00:00:01",
    master="cni0",
    peer=("default.web", "eth0"),
)
ETH0 = replace(VETH, name="eth0", role=Role.POD_ETH, mac="02:00:00:00:00:02", master="", peer=("node1", VETH.name))
INDEXES = {"lo": 1, "eth0": 2, "flannel.1": 7}


def u32(raw: bytes) -> int:
    return struct.unpack("=I", raw)[0]


def test_one_message_makes_both_ends_of_a_pair_and_the_bridge_port():
    request = netlink_links.add(VETH, 9, master=3, peer=Peer(ETH0, 2, 42))
    found = attributes(request.body[16:])
    assert struct.unpack_from("=iII", request.body, 4) == (9, netlink_links.IFF_UP, netlink_links.IFF_UP)
    assert found[netlink_links.IFLA_IFNAME] == b"veth1234abcd\0"
    assert found[netlink_links.IFLA_ADDRESS] == bytes.fromhex("020000000001")
    assert u32(found[netlink_links.IFLA_MASTER]) == 3
    info = attributes(found[netlink_links.IFLA_LINKINFO])
    assert info[1] == b"veth"
    other = attributes(info[2])[1]
    assert struct.unpack_from("=iI", other, 4) == (2, 0)  # born down: a veth cannot be up alone
    assert u32(attributes(other[16:])[netlink_links.IFLA_NET_NS_FD]) == 42
    assert attributes(other[16:])[netlink_links.IFLA_ADDRESS] == bytes.fromhex("020000000002")


def test_a_link_that_is_there_is_modified_by_its_index_alone():
    """With its name in the message, kernels before 6.2 take it for a renaming of a link that is up: EBUSY."""
    request = netlink_links.modify(VETH, 9, master=3)
    assert struct.unpack_from("=iII", request.body, 4) == (9, netlink_links.IFF_UP, netlink_links.IFF_UP)
    said = {netlink_links.IFLA_MTU, netlink_links.IFLA_ADDRESS, netlink_links.IFLA_MASTER}
    assert set(attributes(request.body[16:])) == said


def test_a_vxlan_link_says_what_flanneld_says_and_nothing_else():
    vxlan = Vxlan(vni=1, local=ip_address("192.168.100.11"), dev="eth0", port=8472)
    link = Link(name="flannel.1", kind="vxlan", role=Role.TUNNEL, owner="node1", vxlan=vxlan)
    data = attributes(attributes(attributes(netlink_links.add(link, 7, lower=2).body[16:])[18])[2])
    local = bytes((192, 168, 100, 11))
    assert data == {1: struct.pack("=I", 1), 3: struct.pack("=I", 2), 4: local, 7: b"\0", 15: struct.pack("!H", 8472)}
    assert netlink_links.vxlan_values(data) == (1, 2, local, 8472, False, False, False)


def test_dockers_tunnel_answers_arp_has_no_address_of_its_own_and_goes_into_another_namespace():
    vxlan = Vxlan(vni=4097, port=4789, learning=True, proxy=True, misses=True, socket="node1")
    link = Link(name="vxlan0", kind="vxlan", role=Role.TUNNEL, owner="node1", vxlan=vxlan)
    found = attributes(netlink_links.add(link, 7, netns_fd=42).body[16:])
    assert u32(found[netlink_links.IFLA_NET_NS_FD]) == 42
    data = attributes(attributes(found[netlink_links.IFLA_LINKINFO])[2])
    on = dict.fromkeys((7, 11, 13, 14), b"\1")  # learning, proxy, l2miss, l3miss
    assert data == {1: struct.pack("=I", 4097), 15: struct.pack("!H", 4789), **on}
    assert netlink_links.vxlan_values(data) == (4097, 0, b"", 4789, True, True, True)


def test_a_switch_of_the_fabric_does_not_snoop_and_a_nodes_bridge_is_left_alone():
    switch = Link(name="sw", kind="bridge", role=Role.FABRIC, owner="sw")
    of = [
        attributes(attributes(netlink_links.add(link, 5).body[16:])[netlink_links.IFLA_LINKINFO])
        for link in (switch, replace(switch, role=Role.BRIDGE))
    ]
    assert attributes(of[0][2]) == {23: b"\0"}
    assert 2 not in of[1]


@pytest.mark.parametrize(
    ("address", "broadcast"),
    [("10.244.1.2/24", "10.244.1.255"), ("10.244.1.0/32", None), ("10.0.0.0/31", None), ("10.0.0.1/30", "10.0.0.3")],
)
def test_ipv4_addresses_from_slash_30_up_have_a_broadcast_address(address, broadcast):
    body = netlink_routes.add(Address(dev="eth0", address=ip_interface(address)), INDEXES).body
    found = attributes(body[8:]).get(4)
    assert (str(ip_address(found)) if found else None) == broadcast


def test_ipv6_addresses_skip_duplicate_address_detection():
    body = netlink_routes.add(Address(dev="eth0", address=ip_interface("fd00::1/64")), INDEXES).body
    assert body[:2] == bytes((10, 64))
    assert u32(attributes(body[8:])[8]) == 0x02


def test_an_onlink_route_of_a_large_table_with_a_metric():
    route = Route(
        dst=ip_network("10.244.2.0/24"),
        via=ip_address("10.244.2.0"),
        dev="flannel.1",
        onlink=True,
        table=1000,
        metric=7,
        protocol="bird",
    )
    body = netlink_routes.add(route, INDEXES).body
    family, prefix, _, _, table, protocol, scope, kind, flags = struct.unpack_from("=BBBBBBBBI", body)
    found = attributes(body[12:])
    assert (family, prefix, table, protocol, scope, kind, flags) == (2, 24, 0, 12, 0, 1, 4)
    assert (u32(found[15]), u32(found[6]), u32(found[4])) == (1000, 7, 7)
    assert found[5] == bytes((10, 244, 2, 0))


def test_a_default_route_has_no_destination_attribute():
    route = Route(dst=ip_network("0.0.0.0/0"), via=ip_address("10.244.1.1"), dev="eth0")
    assert 1 not in attributes(netlink_routes.add(route, INDEXES).body[12:])


def test_an_ipv4_route_can_go_via_an_ipv6_gateway():
    route = Route(dst=ip_network("10.9.0.0/16"), via=ip_address("fe80::1"), dev="eth0")
    found = attributes(netlink_routes.add(route, INDEXES).body[12:])
    assert found[18] == struct.pack("=H", 10) + ip_address("fe80::1").packed
    assert 5 not in found


def test_a_route_is_deleted_whoever_made_it():
    route = Route(dst=ip_network("10.9.0.0/16"), dev="eth0", scope="link", protocol="bird")
    body = netlink_routes.delete(route, INDEXES).body
    assert (body[5], body[6], body[7]) == (0, 255, 0)  # protocol, scope, type: any


def test_a_policy_rule_by_mark():
    rule = PolicyRule(priority=1024, table=254, fwmark=0x80, fwmask=0x80)
    found = attributes(netlink_routes.add(rule, INDEXES).body[12:])
    assert {kind: u32(raw) for kind, raw in found.items()} == {6: 1024, 15: 254, 10: 0x80, 16: 0x80}


def test_neighbors_and_forwarding_entries_are_permanent():
    neighbor = Neighbor(dev="flannel.1", address=ip_address("10.244.2.0"), mac="02:00:00:00:00:09")
    entry = FdbEntry(dev="flannel.1", mac="02:00:00:00:00:09", dst=ip_address("192.168.100.12"))
    assert struct.unpack_from("=BxxxiHBB", netlink_routes.add(neighbor, INDEXES).body) == (2, 7, 0x80, 0, 0)
    assert struct.unpack_from("=BxxxiHBB", netlink_routes.add(entry, INDEXES).body) == (7, 7, 0x80, 2, 0)


def test_an_unknown_device_is_a_key_error():
    with pytest.raises(KeyError, match="eth7"):
        netlink_routes.add(Address(dev="eth7", address=ip_interface("10.0.0.1/8")), INDEXES)
