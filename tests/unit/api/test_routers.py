"""Routers of a topology file: racks, and what is wrong with them, by line and field."""

from pathlib import Path

import pytest

from emu.api import load
from emu.api.racks import rack_of, racks
from emu.errors import InputError

RACKS = """name: a
nodes: [{name: n1, switch: s1}, {name: n2, switch: s2}]
fabric:
  switches: [s1, s2, s3]
  links: [[s1, s3]]
  routers:
    - {name: r1, links: [s1, s2]}
ranges:
  nodes: [192.168.100.0/24, 192.168.101.0/24]
"""


def topology(folder: Path, text: str):
    (folder / "topology.yaml").write_text(text)
    return load.topology(folder)


def test_switches_that_links_join_are_one_rack_and_a_router_parts_racks(tmp_path):
    fabric = topology(tmp_path, RACKS).fabric
    assert racks(fabric) == (("s1", "s3"), ("s2",))
    assert [rack_of(fabric, name) for name in ("", "s1", "s2", "s3")] == [0, 0, 1, 0]


def test_without_routers_all_switches_share_the_node_network(tmp_path):
    fabric = topology(tmp_path, "{name: a, nodes: 1, fabric: {switches: [s1, s2]}}").fabric
    assert racks(fabric) == (("s1", "s2"),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[s1, s2]}", "[s1, s9]}", "topology.yaml:7: fabric.routers[0].links[1] is s9, must be one of s1, s2, s3"),
        ("[s1, s2]}", "[]}", "topology.yaml:7: fabric.routers[0].links is empty, must name one switch at least"),
        ("[s1, s2]}", "[s1, s3]}", "fabric.routers[0].links[1] is s3, in the rack of s1: one port is enough"),
        ("[s1, s2]}", "[s1]}", "topology.yaml:6: fabric.routers lead from s1 nowhere near s2"),
        ("name: r1", "name: n1", "topology.yaml:7: fabric.routers[0].name is n1, which is a node"),
        ("name: r1", "name: s1", "topology.yaml:7: fabric.routers[0].name is s1, which is a switch"),
        ("name: r1", "name: fabric", "fabric.routers[0].name is fabric, which is a switch"),
        ("name: r1", "name: R", "topology.yaml:7: fabric.routers[0].name is R, must be"),
        ("name: r1", "nam: r1", "topology.yaml:7: fabric.routers[0].nam is not a field of RouterEntry"),
        (", 192.168.101.0/24]", "]",
         "topology.yaml:9: ranges.nodes has 1 ranges, must have 2 of IPv4: one for each rack that routers join\n"
         "  hint: the racks are s1+s3, s2"),
        (".101.0/24]", ".100.128/25]",
         "ranges.nodes 192.168.100.0/24 overlaps ranges.nodes 192.168.100.128/25"),
        ("switch: s2}", "switch: s2, address: 192.168.100.7}",
         "topology.yaml:2: nodes[1].address is 192.168.100.7, must be a host of ranges.nodes 192.168.101.0/24"),
        ("switch: s2}", "switch: s2, address: 192.168.101.1}",
         "topology.yaml:2: nodes[1].address is 192.168.101.1, which is that of router r1"),
        ("101.0/24", "101.0/31", "ranges.nodes[1] is 192.168.101.0/31, which has no address for r1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_router_is_said_with_the_line_and_the_field(tmp_path, old, new, message):
    assert old in RACKS
    with pytest.raises(InputError) as caught:
        topology(tmp_path, RACKS.replace(old, new))
    assert message in str(caught.value)


def test_several_node_networks_need_routers(tmp_path):
    text = "{name: a, nodes: 1, ranges: {nodes: [192.168.100.0/24, 192.168.101.0/24]}}"
    with pytest.raises(InputError, match=r"ranges\.nodes is IPv4 then IPv4, must be IPv4 as family ipv4 says"):
        topology(tmp_path, text)
