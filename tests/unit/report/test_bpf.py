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
                entry("cilium_lb4_services_v2", (VIP, 80, 0, "TCP"), (10800, 0, 4)),
                entry("cilium_lb4_backends_v3", (7,), (POD, 5353, "UDP")),
            ],
            "SERVICE ADDRESS         BACKEND ADDRESS (REVNAT_ID) (SLOT)\n"
            "10.96.0.10:53/UDP (0)   0.0.0.0:0 (3) (0) [ClusterIP, non-routable]\n"
            "10.96.0.10:53/UDP (1)   10.244.1.3:5353/UDP (3) (1)\n"
            "10.96.0.10:80/TCP (0)   0.0.0.0:0 (4) (0) [ClusterIP, sessionAffinity, non-routable]\n",
        ),
        (
            "ct",
            [
                entry(
                    "cilium_ct4_global",
                    (POD, NODE, 40000, 80, "TCP", 0),
                    (9, 843, 26562518, 0x13, 0, 0x1B, 0x1B, 31143, 26562514, 26562513),
                ),
                entry("cilium_ct4_global", (POD, NODE, 0, 0, "ICMP", 2), (0, 0, 60, 0x400, 0, 2, 0, 10, 7, 0)),
            ],
            "ICMP OUT 10.244.1.3:0 -> 192.168.100.12:0 related expires=60 Packets=0 Bytes=0 RxFlagsSeen=0x00 "
            "LastRxReport=0 TxFlagsSeen=0x02 LastTxReport=7 Flags=0x0400 [ FromTunnel ] RevNAT=0 SourceSecurityID=10 "
            "BackendID=0\n"
            "TCP OUT 10.244.1.3:40000 -> 192.168.100.12:80 expires=26562518 Packets=9 Bytes=843 RxFlagsSeen=0x1b "
            "LastRxReport=26562513 TxFlagsSeen=0x1b LastTxReport=26562514 "
            "Flags=0x0013 [ RxClosing TxClosing SeenNonSyn ] RevNAT=0 SourceSecurityID=31143 BackendID=0\n",
        ),
    ],
)
def test_each_kind_is_listed_in_order(kind: str, entries: list[MapEntry], text: str) -> None:
    assert table(kind, entries) == text
