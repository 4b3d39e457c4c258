"""The maps of a Node as Cilium's agent lists them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from emu.plan.ebpf import MapEntry
from emu.report.bpf import table

POD, NODE, VIP = IPv4Address("10.244.1.3"), IPv4Address("192.168.100.12"), IPv4Address("10.96.0.10")
NONE = "00:00:00:00:00:00"


def entry(name: str, *both: tuple) -> MapEntry:  # type: ignore[type-arg]
    return MapEntry(map=name, key=both[0], value=both[1])


@pytest.mark.parametrize(
    ("kind", "entries", "text"),
    [
        (
            "endpoint",
            [
                entry("cilium_lxc", (NODE,), ("", 0, 1, 0, NONE, NONE)),
                entry("cilium_lxc", (POD,), ("lxc1", 31143, 0, 219, "02:00:00:00:00:0a", "02:00:00:00:00:0b")),
            ],
            "IP ADDRESS         LOCAL ENDPOINT INFO\n"
            "10.244.1.3:0       id=219   sec_id=31143 flags=0x0000 ifindex=lxc1 mac=02:00:00:00:00:0A "
            "nodemac=02:00:00:00:00:0B parent_ifindex=0\n"
            "192.168.100.12:0   (localhost)\n",
        ),
        (
            "ipcache",
            [
                entry("cilium_ipcache", (IPv4Network("10.244.2.0/24"),), (2, NODE)),
                entry("cilium_ipcache", (IPv4Network("0.0.0.0/0"),), (2, IPv4Address(0))),
            ],
            "IP PREFIX/ADDRESS   IDENTITY\n"
            "0.0.0.0/0           identity=2 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>\n"
            "10.244.2.0/24       identity=2 encryptkey=0 tunnelendpoint=192.168.100.12 flags=hastunnel\n",
        ),
        (
            "lb",
            [
                entry("cilium_lb4_services_v2", (VIP, 53, 1, "UDP"), (7, 0, 3)),
                entry("cilium_lb4_services_v2", (VIP, 53, 0, "UDP"), (0, 1, 3)),
                entry("cilium_lb4_backends_v3", (7,), (POD, 5353, "UDP")),
            ],
            "SERVICE ADDRESS         BACKEND ADDRESS (REVNAT_ID) (SLOT)\n"
            "10.96.0.10:53/UDP (0)   0.0.0.0:0 (3) (0) [ClusterIP, non-routable]\n"
            "10.96.0.10:53/UDP (1)   10.244.1.3:5353/UDP (3) (1)\n",
        ),
        (
            "ct",
            [entry("cilium_ct4_global", (POD, NODE, 40000, 80, "TCP", 0), (99, 3, 31143, 0x1B))],
            "TCP OUT 10.244.1.3:40000 -> 192.168.100.12:80 expires=99 Packets=3 FlagsSeen=0x1b "
            "SourceSecurityID=31143\n",
        ),
    ],
)
def test_each_kind_is_listed_in_order(kind: str, entries: list[MapEntry], text: str) -> None:
    assert table(kind, entries) == text
