"""Topology files."""

from pathlib import Path

import pytest

from emu.api import load
from emu.api.topology import Cni
from emu.errors import InputError

SHIPPED = Path(__file__).parents[3] / "topologies"


@pytest.fixture
def topology(tmp_path):
    def written(text):
        (tmp_path / "topology.yaml").write_text(text)
        return load.topology(tmp_path)

    return written


def test_a_count_names_the_nodes(topology):
    assert [node.name for node in topology("{name: a, nodes: 2}").nodes] == ["node1", "node2"]


def test_nodes_may_be_names_and_mappings(topology):
    nodes = topology("{name: a, nodes: [left, {name: right, labels: {disk: ssd}, address: 192.168.100.77}]}").nodes
    assert [(node.name, dict(node.labels), node.address) for node in nodes] == [
        ("left", {}, ""),
        ("right", {"disk": "ssd"}, "192.168.100.77"),
    ]


@pytest.mark.parametrize(
    ("written", "cni"),
    [
        ("flannel-vxlan", Cni(mode="flannel-vxlan")),
        ("{mode: flannel-vxlan, options: {vni: 7}}", Cni(mode="flannel-vxlan", options={"vni": 7})),
    ],
)
def test_cni_is_a_name_or_a_mapping(topology, written, cni):
    assert topology(f"{{name: a, nodes: 1, cni: {written}}}").cni == cni


def test_ranges_follow_the_family(topology):
    ranges = topology("{name: a, nodes: 2, family: ipv6-ipv4, ranges: {pods: 'fd00:1::/48,10.1.0.0/16'}}").ranges
    assert ranges.pods == ("fd00:1::/48", "10.1.0.0/16")
    assert ranges.services == ("fd00:10:96::/112", "10.96.0.0/12")


def test_switches_and_links(topology):
    fabric = topology(
        "{name: a, nodes: [{name: n, switch: s2}], fabric: {switches: [s1, s2], links: [[s1, s2]]}}"
    ).fabric
    assert fabric.links == (("s1", "s2"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: 2", "topology.yaml:1: name is missing"),
        ("name: a", "topology.yaml:1: nodes is missing"),
        ("name: A\nnodes: 1", "topology.yaml:1: name is A, must be"),
        ("name: a\nnodes: 0", "topology.yaml:2: nodes is 0, must be 1-"),
        ("name: a\nnodes: two", "topology.yaml:2: nodes must be a number or a list"),
        ("name: a\nnodes: [a, a]", "topology.yaml:2: nodes[1].name is a, which nodes[0] has too"),
        ("name: a\nnodes: [fabric]", "nodes[0].name is fabric, which is the namespace of the switches"),
        ("name: a\nnodes: [a.b]", "nodes[0].name is a.b"),
        ("name: a\nnodes: 1\nnode: 2", "topology.yaml:3: node is not a field of Topology; did you mean nodes"),
        ("name: a\nnodes: 1\nseed: x", 'topology.yaml:3: seed is the text "x", must be a whole number'),
        ("name: a\nnodes: 1\nfamily: ipv5", "topology.yaml:3: family is ipv5, must be ipv4, ipv6"),
        ("name: a\nnodes: 1\niptables: nftables", "iptables is nftables, must be nft or legacy"),
        ("name: a\nnodes: 1\ndns: {pods: secure}", "dns.pods is secure, must be disabled, insecure or verified"),
        ("name: a\nnodes: 1\ndns: {upstream: dns}", "dns.upstream is dns, must be an IP address"),
        ("name: a\nnodes: 1\nranges:\n  pods: 10.96.0.0/16",
         "topology.yaml:4: ranges.pods 10.96.0.0/16 overlaps ranges.services 10.96.0.0/12"),
        ("name: a\nnodes: 1\nranges:\n  pods: 10.1.0.1/16",
         "ranges.pods[0] is 10.1.0.1/16, which is an address inside 10.1.0.0/16"),
        ("name: a\nnodes: 1\nranges:\n  pods: ten", "ranges.pods[0] is ten, must be a range like"),
        ("name: a\nnodes: 1\nranges:\n  pods: fd00::/48",
         "topology.yaml:4: ranges.pods is IPv6, must be IPv4 as family ipv4 says\n  hint: family: ipv6"),
        ("name: a\nnodes: 3\nranges:\n  pods: 10.1.0.0/23",
         "ranges.pods[0] is 10.1.0.0/23, which holds 2 ranges of /24, but there are 3 nodes"),
        ("name: a\nnodes: 3\nranges:\n  node_pod_prefix: 8", "ranges.node_pod_prefix is 8, must be 16-30"),
        ("name: a\nnodes: [{name: b, address: 10.0.0.1}]",
         "nodes[0].address is 10.0.0.1, must be a host of ranges.nodes 192.168.100.0/24"),
        ("name: a\nnodes: [{name: b, address: 192.168.100.9}, {name: c, address: 192.168.100.9}]",
         "which is that of b"),
        ("name: a\nnodes: [{name: b, switch: s9}]", "nodes[0].switch is s9, must be one of fabric"),
        ("name: a\nnodes: 1\nfabric: {switches: [a, b], links: [[a, b], [b, a]]}", "fabric.links[1] closes a ring"),
        ("name: a\nnodes: 1\nfabric: {links: [[fabric, x]]}", "fabric.links[0][1] is x, must be one of fabric"),
        ("name: a\nnodes: 1\nfabric: {links: [[fabric]]}", "fabric.links[0] has 1 items, must have 2"),
        ("name: a\nnodes: 1\nimages:\n  my/app: {serv: hello}",
         "topology.yaml:4: image my/app: serv is not a field of Image"),
        ("apiVersion: v1\nkind: Pod", "topology.yaml:2: this is a Kubernetes manifest, not a topology"),
        ("", "has 0 YAML documents, must have one"),
        ("name: a\n---\nname: b", "has 2 YAML documents, must have one"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_line_and_the_field(topology, text, message):
    with pytest.raises(InputError) as caught:
        topology(text)
    assert message in str(caught.value)


def test_a_folder_without_a_topology_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"this folder has no topology\.yaml"):
        load.topology(tmp_path)


def test_manifests_that_are_named_must_be_there_but_the_default_folder_need_not(tmp_path):
    file = tmp_path / "topology.yaml"
    file.write_text("{name: a, nodes: 1}")
    assert load.testbed(file)[1].objects == ()
    file.write_text("{name: a, nodes: 1, manifests: gone.yaml}")
    with pytest.raises(InputError, match=r"gone\.yaml: cannot be read"):
        load.testbed(file)


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        ("two-nod-vxlan", "did you mean two-node-vxlan?"),
        ("ipip", "did you mean three-node-ipip or two-node-ipip?"),
        ("nosuch", "ls "),
    ],
)
def test_a_topology_that_is_not_there_is_looked_for_among_its_neighbours(tmp_path, named, hint):
    for name in ("two-node-vxlan", "two-node-ipip", "three-node-ipip"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "topology.yaml").write_text("{name: a, nodes: 1}")
    (tmp_path / "two-nod-vxlans").mkdir()
    with pytest.raises(InputError, match="cannot be read: No such file or directory") as raised:
        load.testbed(tmp_path / named)
    assert raised.value.hint.startswith(hint)


def test_an_unknown_image_is_said_with_its_line(tmp_path):
    (tmp_path / "topology.yaml").write_text("{name: a, nodes: 1, manifests: pod.yaml}")
    (tmp_path / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - name: c\n      image: ngnix\n"
    )
    with pytest.raises(InputError) as caught:
        load.testbed(tmp_path)
    assert "pod.yaml:7: Pod default/p: spec.containers[0].image is ngnix" in str(caught.value)
    assert "did you mean nginx?" in str(caught.value)


@pytest.mark.parametrize("folder", sorted(SHIPPED.glob("*/")), ids=lambda folder: folder.name)
def test_every_shipped_topology_is_right_and_named_after_its_folder(folder):
    topology, loaded = load.testbed(folder)
    assert topology.name == folder.name
    assert loaded.objects and not loaded.ignored


def test_a_switch_may_take_less_than_the_nodes_on_it_believe(tmp_path: Path) -> None:
    text = "name: lab\nnodes: 2\nfabric:\n  switch_mtu: {fabric: 1400}\n"
    (tmp_path / "topology.yaml").write_text(text)
    fabric = load.testbed(tmp_path)[0].fabric
    assert (fabric.mtu, fabric.mtu_of("fabric")) == (1500, 1400)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{rack9: 1400}", "fabric.switch_mtu is rack9, must be one of fabric"),
        ("{fabric: 1200}", "fabric.switch_mtu.fabric is 1200, must be 1280-65535"),
        ("{fabric: '1400'}", 'fabric.switch_mtu.fabric is the text "1400", must be a whole number'),
    ],
)
def test_the_mtu_of_a_switch_is_looked_at(tmp_path: Path, given: str, told: str) -> None:
    (tmp_path / "topology.yaml").write_text(f"name: lab\nnodes: 2\nfabric:\n  switch_mtu: {given}\n")
    with pytest.raises(InputError) as error:
        load.testbed(tmp_path)
    assert told in str(error.value)
