"""BIRD's configuration and what it is expected to bring, for each shape of a cluster."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_network

import pytest
import shipped
from clusters import cluster

from emu import planners
from emu.api.topology import Cni
from emu.cluster.model import Cluster
from emu.errors import InputError
from emu.plan import render
from emu.plan.merge import merge
from emu.plan.model import NetnsPlan
from emu.planners.cni import bird


def calico(nodes: int = 3, family: str = "ipv4", **options: object) -> Cluster:
    """Each Node with its first block of each family."""
    made = cluster(nodes, 1, 1, family)
    blocks = {node.name: tuple(next(_blocks(cidr)) for cidr in node.pod_cidrs) for node in made.nodes}
    topology = replace(made.topology, cni=Cni(mode="calico-bgp", options=options))
    return replace(made, topology=topology, nodes=tuple(replace(n, blocks=blocks[n.name]) for n in made.nodes))


def _blocks(cidr):  # type: ignore[no-untyped-def]
    return cidr.subnets(new_prefix=26 if cidr.version == 4 else 122)


def planned(of: Cluster) -> dict[str, NetnsPlan]:
    return merge(bird.plan(of))


def conf(of: Cluster, node: str) -> str:
    return planned(of)[node].daemons[0].files[0].text


def sessions(of: Cluster, node: str) -> list[str]:
    return re.findall(r"protocol bgp (\S+)", conf(of, node))


def brought(of: Cluster, node: str) -> list[str]:
    return [render.route(each.route) for each in planned(of)[node].expected]


def test_in_a_mesh_every_node_has_a_session_with_every_other() -> None:
    assert sessions(calico(), "node1") == ["Mesh_192_168_100_12", "Mesh_192_168_100_13"]
    assert sessions(calico(), "node3") == ["Mesh_192_168_100_11", "Mesh_192_168_100_12"]
    assert "rr client" not in conf(calico(), "node1")


def test_with_reflectors_the_others_have_sessions_with_them_alone() -> None:
    four = calico(4, route_reflectors=["node1", "node2"])
    assert sessions(four, "node3") == ["Node_192_168_100_11", "Node_192_168_100_12"]
    assert sessions(four, "node1") == ["Node_192_168_100_12", "Node_192_168_100_13", "Node_192_168_100_14"]
    clients = re.findall(r"neighbor (\S+) [^}]*rr client;\n  rr cluster id 244.0.0.1;", conf(four, "node1"))
    assert clients == ["192.168.100.13", "192.168.100.14"]
    assert "rr client" not in conf(four, "node4")
    assert brought(four, "node3") == brought(calico(4), "node3")


def test_a_node_brings_its_blackhole_and_a_route_to_the_block_of_each_other() -> None:
    assert brought(calico(), "node2") == [
        "blackhole 10.244.2.0/26 proto bird",
        "10.244.1.0/26 via 192.168.100.11 dev eth0 proto bird",
        "10.244.3.0/26 via 192.168.100.13 dev eth0 proto bird",
    ]


def test_across_a_router_the_route_goes_by_the_gateway() -> None:
    expected = [render.route(each.route) for each in shipped.plan("two-racks-calico-bgp").netns["node1"].expected]
    assert expected == [
        "blackhole 10.244.1.0/26 proto bird",
        "10.244.2.0/26 via 192.168.100.12 dev eth0 proto bird",
        "10.244.3.0/26 via 192.168.100.1 dev eth0 proto bird",
        "10.244.4.0/26 via 192.168.100.1 dev eth0 proto bird",
    ]


def test_a_borrowed_address_is_told_beside_the_blocks() -> None:
    three = calico()
    pod = next(pod for pod in three.pods if pod.node == "node1")
    borrowed = replace(pod, addresses=(ip_network("10.244.2.0/26")[9],))
    three = replace(three, pods=(borrowed, *(each for each in three.pods if each is not pod)))
    assert "10.244.2.9 via 192.168.100.11 dev eth0 proto bird" in brought(three, "node2")
    assert "10.244.2.9 via 192.168.100.11 dev eth0 proto bird" in brought(three, "node3")


def test_both_families_have_filters_and_sessions_of_their_own() -> None:
    dual = calico(2, "ipv4-ipv6")
    assert sessions(dual, "node1") == ["Mesh_192_168_100_12", "Mesh_fd00_100__c"]
    text = conf(dual, "node1")
    assert "if net = 10.244.1.0/26 then accept;" in text
    assert "if net = fd00:10:244:1::/122 then accept;" in text
    assert "fd00:10:244:2::/122 via fd00:100::c dev eth0 proto bird" in brought(dual, "node1")
    assert "router id 0.0.0.2;" in conf(calico(2, "ipv6"), "node2")


def test_the_sign_of_a_session_is_the_line_that_birdc_prints() -> None:
    (sign, _) = planned(calico())["node1"].daemons[0].signs
    up = "Mesh_192_168_100_12 BGP        ---        up     20:15:58.697  Established   "
    down = "Mesh_192_168_100_12 BGP        ---        start  20:16:12.875  Active        Socket: Connection closed"
    assert (bool(re.search(sign.pattern, up, re.M)), bool(re.search(sign.pattern, down, re.M))) == (True, False)
    assert sign.what == "established BGP session with node2 (Mesh_192_168_100_12)"


def test_what_did_not_change_is_the_same_object() -> None:
    three = calico()
    before, after = planned(three), planned(replace(three))
    assert before["node1"].daemons is after["node1"].daemons or before["node1"] is after["node1"]


@pytest.mark.parametrize(
    ("nodes", "options", "words"),
    [
        (3, {"route_reflectors": ["node9"]}, "route_reflectors is ['node9'], must be a list of nodes"),
        (3, {"route_reflectors": "node1"}, "route_reflectors is node1, must be a list of nodes"),
        (3, {"reflectors": ["node1"]}, "unknown option reflectors"),
        (51, {}, "51 nodes: too many for a full mesh of BGP sessions, which is for 50"),
    ],
)
def test_a_wrong_option_is_refused(nodes: int, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        planners.build(calico(nodes, **options))


def test_fifty_one_nodes_have_reflectors() -> None:
    assert len(sessions(calico(51, route_reflectors=["node1"]), "node2")) == 1
