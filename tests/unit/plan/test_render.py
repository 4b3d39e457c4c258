from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from emu.plan import render
from emu.plan.model import (
    Address,
    FdbEntry,
    Link,
    Neighbor,
    NetnsKind,
    NetnsPlan,
    Plan,
    PolicyRule,
    Role,
    Route,
    Sysctl,
    Vxlan,
)

HOST_VETH = Link(
    name="veth1a2b3c4d",
    kind="veth",
    role=Role.HOST_VETH,
    owner="default/a",
    mtu=1450,
    master="cni0",
    hairpin=True,
    peer=("default.a", "eth0"),
)
TUNNEL = Link(
    name="flannel.1",
    kind="vxlan",
    role=Role.TUNNEL,
    owner="node1",
    mtu=1450,
    mac="02:11:22:33:44:55",
    vxlan=Vxlan(vni=1, local=ip_address("192.168.100.11"), dev="eth0", port=8472),
)
POD_ETH = replace(HOST_VETH, name="eth0", role=Role.POD_ETH, master="", hairpin=False, peer=("node1", HOST_VETH.name))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            Route(dst=ip_network("10.244.2.0/24"), via=ip_address("10.244.2.0"), dev="flannel.1", onlink=True),
            "node1# ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
        ),
        (
            Route(dst=ip_network("10.0.0.0/8"), type="blackhole"),
            "node1# ip route replace blackhole 10.0.0.0/8",
        ),
        (
            Address(dev="cni0", address=ip_interface("10.244.1.1/24")),
            "node1# ip address add 10.244.1.1/24 dev cni0",
        ),
        (
            Neighbor(dev="flannel.1", address=ip_address("10.244.2.0"), mac="02:00:00:00:00:02"),
            "node1# ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
        ),
        (
            FdbEntry(dev="flannel.1", mac="02:00:00:00:00:02", dst=ip_address("192.168.100.12")),
            "node1# bridge fdb replace 02:00:00:00:00:02 dev flannel.1 dst 192.168.100.12 self permanent",
        ),
        (Sysctl(key="net.ipv4.ip_forward", value="1"), "node1# sysctl -w net.ipv4.ip_forward=1"),
        (
            PolicyRule(priority=512, table=100, src=ip_network("10.0.0.1/32")),
            "node1# ip rule add priority 512 from 10.0.0.1/32 lookup 100",
        ),
        (
            HOST_VETH,
            "node1# ip link add veth1a2b3c4d mtu 1450 type veth peer name eth0 netns default.a"
            " && ip link set veth1a2b3c4d master cni0 up && bridge link set dev veth1a2b3c4d hairpin on",
        ),
        (
            TUNNEL,
            "node1# ip link add flannel.1 mtu 1450 address 02:11:22:33:44:55 type vxlan id 1"
            " local 192.168.100.11 dev eth0 dstport 8472 nolearning && ip link set flannel.1 up",
        ),
    ],
)
def test_each_value_is_one_line_to_paste(value: object, expected: str) -> None:
    assert render.command("node1", value) == expected


def test_the_far_end_of_a_pair_is_only_set() -> None:
    assert render.command("default.a", POD_ETH) == "default.a# ip link set eth0 mtu 1450 up"


def test_a_value_is_taken_back_by_the_same_tool() -> None:
    gone = Route(dst=ip_network("10.244.2.0/24"), via=ip_address("10.244.2.0"), dev="flannel.1", onlink=True)
    assert (
        render.command("node1", gone, remove=True)
        == "node1# ip route del 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"
    )
    assert render.command("node1", HOST_VETH, remove=True) == "node1# ip link del veth1a2b3c4d"


def test_the_script_makes_all_namespaces_before_the_links_between_them() -> None:
    pod = NetnsPlan(name="default.a", kind=NetnsKind.POD, owner="default/a", links=(POD_ETH,))
    node = NetnsPlan(name="node1", kind=NetnsKind.NODE, owner="node1", links=(HOST_VETH,))
    text = render.render(Plan(name="lab", seed=0, netns={"default.a": pod, "node1": node}))
    lines = text.splitlines()
    order = [
        lines.index("ip netns add node1"),
        lines.index("ip netns add default.a"),
        lines.index("ip -n node1 link add veth1a2b3c4d mtu 1450 type veth peer name eth0 netns default.a"),
        lines.index("ip -n default.a link set eth0 mtu 1450 up"),
    ]
    assert order == sorted(order)
