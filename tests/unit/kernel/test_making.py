"""The order in which namespaces get their links."""

from __future__ import annotations

from emu.kernel.making import in_turn
from emu.plan.model import Link, NetnsChange, NetnsKind, NetnsPlan, Role


def change(name: str, kind: NetnsKind, *ends: str) -> NetnsChange:
    links = tuple(
        Link(name=f"eth{n}", kind="veth", role=Role.POD_ETH, owner=name, peer=(end, name)) for n, end in enumerate(ends)
    )
    return NetnsChange(name=name, old=None, new=NetnsPlan(name=name, kind=kind, owner=name, links=links))


def test_pods_come_right_after_the_node_they_hang_on():
    changes = [
        change("fabric", NetnsKind.FABRIC),
        *(change(f"node{n}", NetnsKind.NODE, "fabric") for n in (1, 2)),
        *(change(f"pod{n}", NetnsKind.POD, f"node{1 + n % 2}") for n in range(4)),
    ]
    assert [each.name for each in in_turn(changes)] == ["fabric", "node1", "pod0", "pod2", "node2", "pod1", "pod3"]


def test_a_pod_with_links_to_two_nodes_waits_for_both():
    changes = [
        *(change(f"node{n}", NetnsKind.NODE) for n in (1, 2)),
        change("both", NetnsKind.POD, "node2", "node1"),
        change("one", NetnsKind.POD, "node1"),
    ]
    assert [each.name for each in in_turn(changes)] == ["node1", "one", "node2", "both"]


def test_a_pod_whose_node_does_not_change_keeps_its_place():
    changes = [change("node2", NetnsKind.NODE), change("pod", NetnsKind.POD, "node1")]
    assert [each.name for each in in_turn(changes)] == ["node2", "pod"]
