"""Entries of eBPF maps as values: how they lie in memory, how they are told, what of them changes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from emu.plan import diff, drift, ebpf, render
from emu.plan.ebpf import LAYOUTS, MapEntry, SocketProgram, Value
from emu.plan.model import Link, NetnsKind, NetnsPlan, Role, TcProgram

NODE, POD = IPv4Address("192.168.100.12"), IPv4Address("10.244.2.3")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
ENDPOINT = MapEntry(map="cilium_lxc", key=(POD,), value=("lxc1", 31143, 0, 219, *MACS))
REMOTE = MapEntry(map="cilium_ipcache", key=(IPv4Network(POD),), value=(31143, NODE))
SERVICE = MapEntry(map="cilium_lb4_services_v2", key=(POD, 80, 1, "TCP"), value=(77, 0, 5))
BACKEND = MapEntry(map="cilium_lb4_backends_v3", key=(77,), value=(POD, 8080, "TCP"))
LXC = Link(name="lxc1", kind="veth", role=Role.HOST_VETH, owner="default/p", peer=("default.p", "eth0"))


def node(*maps: MapEntry, link: Link = LXC) -> NetnsPlan:
    program = TcProgram(dev=link.name, where="ingress", file="cilium", name="cil_from_container")
    return NetnsPlan(
        name="node1", kind=NetnsKind.NODE, owner="node1", links=(link,), maps=maps, programs=(program,)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "key", "value"),
    [
        (ENDPOINT, "0af40203", "07000000 a7790000 00000000 db00 020000000001 020000000002 0000"),
        (REMOTE, "20000000 0af40203", "a7790000 c0a8640c"),
        (SERVICE, "0af40203 0050 0100 06 000000", "4d000000 0000 0500"),
        (BACKEND, "4d000000", "0af40203 1f90 06 00"),
    ],
)
def test_an_entry_lies_in_memory_as_the_program_declares_it(entry: MapEntry, key: str, value: str) -> None:
    layout = LAYOUTS[entry.map]
    assert ebpf.pack(layout.key, entry.key, {}) == bytes.fromhex(key)
    assert ebpf.pack(layout.value, entry.value, {"lxc1": 7}) == bytes.fromhex(value)


@pytest.mark.parametrize("entry", [ENDPOINT, REMOTE, SERVICE, BACKEND])
def test_what_is_written_is_read_back_as_it_was(entry: MapEntry) -> None:
    layout = LAYOUTS[entry.map]
    key = ebpf.unpack(layout.key, ebpf.pack(layout.key, entry.key, {}), {})
    raw = ebpf.pack(layout.value, entry.value, {"lxc1": 7})
    assert MapEntry(map=entry.map, key=key, value=ebpf.unpack(layout.value, raw, {7: "lxc1"})) == entry


def test_a_link_that_is_gone_is_told_by_its_number() -> None:
    layout = LAYOUTS["cilium_lxc"]
    raw = ebpf.pack(layout.value, ENDPOINT.value, {"lxc1": 7})
    assert ebpf.unpack(layout.value, raw, {})[0] == "if7"
    with pytest.raises(KeyError):
        ebpf.pack(layout.value, ENDPOINT.value, {})


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (REMOTE, "cilium_ipcache 10.244.2.3/32 → identity=31143 tunnelendpoint=192.168.100.12"),
        (SERVICE, "cilium_lb4_services_v2 10.244.2.3:80/TCP (1) → backend_id=77 count=0 rev_nat_index=5"),
        (BACKEND, "cilium_lb4_backends_v3 77 → 10.244.2.3:8080/TCP"),
    ],
)
def test_an_entry_is_told_as_the_real_tool_tells_it(entry: MapEntry, text: str) -> None:
    assert ebpf.text(entry) == text


def test_only_the_entry_that_differs_is_written_and_only_the_one_that_is_gone_is_deleted() -> None:
    moved = MapEntry(map="cilium_ipcache", key=REMOTE.key, value=(31143, IPv4Address("192.168.100.13")))
    change = diff.netns(node(ENDPOINT, REMOTE, SERVICE), node(ENDPOINT, moved))
    assert change is not None
    assert (change.added, change.removed) == ((moved,), (SERVICE,))


def test_an_entry_with_the_index_of_a_link_is_written_again_when_the_link_is_made_again() -> None:
    other = Link(name="lxc1", kind="veth", role=Role.HOST_VETH, owner="default/p", peer=("default.q", "eth0"))
    change = diff.netns(node(ENDPOINT, REMOTE), node(ENDPOINT, REMOTE, link=other))
    assert change is not None
    assert ENDPOINT in change.added and REMOTE not in change.added


def test_an_entry_goes_although_its_link_goes_too() -> None:
    without = NetnsPlan(name="node1", kind=NetnsKind.NODE, owner="node1")
    change = diff.netns(node(ENDPOINT), without)
    assert change is not None
    assert ENDPOINT in change.removed


def test_a_program_that_changes_alone_is_a_change() -> None:
    new = SocketProgram(hook="connect4", file="cilium_sock", name="cil_sock4_connect")
    old = node()
    change = diff.netns(old, NetnsPlan(name="node1", kind=old.kind, owner="node1", links=old.links, programs=(new,)))
    assert change is not None
    assert change.added == (new,)


def test_drift_tells_a_missing_a_wrong_and_a_foreign_entry() -> None:
    wrong: tuple[Value, ...] = (2, IPv4Address(0))
    there = node(MapEntry(map="cilium_ipcache", key=REMOTE.key, value=wrong), BACKEND)
    assert [str(each) for each in drift.drift(node(ENDPOINT, REMOTE), there)] == [
        "node1: map cilium_lxc, key 10.244.2.3: missing: ifindex=lxc1 sec_id=31143 flags=0x0000 id=219 "
        "mac=02:00:00:00:00:01 nodemac=02:00:00:00:00:02",
        "node1: map cilium_ipcache, key 10.244.2.3/32: wanted identity=31143 tunnelendpoint=192.168.100.12, "
        "got identity=2 tunnelendpoint=0.0.0.0",
        "node1: map cilium_lb4_backends_v3, key 77: not in the plan: 10.244.2.3:8080/TCP",
    ]


def test_an_entry_is_a_line_for_bpftool_with_its_meaning_behind_it() -> None:
    assert render.command("node1", REMOTE) == (
        "node1# bpftool map update pinned /run/bpf/node1-cilium/cilium_ipcache key 32 0 0 0 10 244 2 3 "
        "value 167 121 0 0 192 168 100 12  # cilium_ipcache 10.244.2.3/32 → identity=31143 "
        "tunnelendpoint=192.168.100.12"
    )
    assert render.line("node1", REMOTE, remove=True) == (
        "bpftool map delete pinned /run/bpf/node1-cilium/cilium_ipcache key 32 0 0 0 10 244 2 3"
    )
