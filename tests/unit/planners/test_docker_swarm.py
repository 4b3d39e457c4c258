"""A Swarm's overlay network: the namespaces it has on the hosts, the rules beside it, and where packets end."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import shipped
from swarm_plans import network, rules, send

from emu import planners
from emu.api import images, load
from emu.api.objects import key_of
from emu.cluster import resolve
from emu.errors import InputError
from emu.plan import render
from emu.plan.model import Plan

FOLDER = "two-hosts-docker-swarm"

#: Docker 28's, for a host in a Swarm that has published nothing.
FILTER = """\
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER ! -i docker_gwbridge -o docker_gwbridge -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-BRIDGE -o docker_gwbridge -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-CT -o docker_gwbridge -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-FORWARD -i docker_gwbridge -o docker_gwbridge -j DROP
-A DOCKER-FORWARD -i docker_gwbridge ! -o docker_gwbridge -j ACCEPT
"""
NAT = """\
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o docker_gwbridge -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
"""
RAW = "".join(f"-A PREROUTING -d 172.18.0.{n}/32 ! -i docker_gwbridge -j DROP\n" for n in (5, 3))


@cache
def plan() -> Plan:
    return shipped.plan(FOLDER)


def test_a_host_has_the_rules_of_docker_28_in_a_swarm() -> None:
    node = plan().netns["node1"]
    assert [rules(node, table) for table in ("filter", "nat", "raw")] == [FILTER, NAT, RAW]


def test_the_networks_namespace_knows_who_is_elsewhere_and_nobody_who_is_here() -> None:
    first, second = network(plan(), "node1"), network(plan(), "node2")
    assert {render.fdb(each) for each in first.fdb} == {
        f"02:42:0a:00:01:0{n} dev vxlan0 dst 192.168.100.12 self permanent" for n in (3, 5, 6)
    }
    assert {str(each.address) for each in first.neighbors} == {f"10.0.1.{n}" for n in (3, 5, 6)}
    assert {str(each.address) for each in second.neighbors} == {"10.0.1.2", "10.0.1.4"}
    assert first.name.partition("_")[2] == second.name.partition("_")[2]  # one network, one id


def test_the_tunnel_is_moved_and_its_socket_is_the_hosts() -> None:
    netns = network(plan(), "node1")
    link = netns.link("vxlan0")
    assert link is not None
    made, _, joined = render.line(netns.name, link).partition(" && ")
    assert made.startswith(f"ip -n node1 link add vxlan0 netns {netns.name} mtu 1450 address ")
    assert made.endswith(" type vxlan id 4097 dstport 4789 proxy l2miss l3miss")
    assert joined == "ip link set vxlan0 master br0 up"


def test_a_container_has_two_links_and_leaves_by_the_second() -> None:
    pod = plan().netns["default.client1"]
    assert [(str(a.address), a.dev) for a in pod.addresses] == [("10.0.1.4/24", "eth0"), ("172.18.0.5/16", "eth1")]
    assert [render.route(each) for each in pod.routes] == ["default via 172.18.0.1 dev eth1"]
    assert {link.name: (link.mtu, link.mac) for link in pod.links}["eth0"] == (1450, "02:42:0a:00:01:04")


def test_across_hosts_nothing_is_routed_or_translated() -> None:
    hops = send(plan(), "client1", "10.0.1.6").forward.hops
    assert {(str(hop.inner.src), str(hop.inner.dst), hop.inner.ttl) for hop in hops} == {("10.0.1.4", "10.0.1.6", 64)}
    outer = [hop for hop in hops if hop.encapsulation]
    assert {(str(e.outer.src), str(e.outer.dst), e.vni) for hop in outer if (e := hop.encapsulation)} == {
        ("192.168.100.11", "192.168.100.12", 4097)
    }
    assert [hop.point.netns for hop in outer] == ["node1", "fabric", "fabric", "node2"]


def without(made: Plan, node: str, field: str) -> Plan:
    netns = network(made, node)
    return replace(made, netns={**made.netns, netns.name: replace(netns, **{field: ()})})


@pytest.mark.parametrize(
    ("node", "field", "why"),
    [
        # The proxy answers only for whom it knows where to send to.
        ("node1", "neighbors", "nobody answers ARP for 10.0.1.6 on default/client1:eth0"),
        ("node1", "fdb", "nobody answers ARP for 10.0.1.6 on default/client1:eth0"),
    ],
)
def test_without_its_entries_nobody_answers(node: str, field: str, why: str) -> None:
    assert send(without(plan(), node, field), "client1", "10.0.1.6").forward.reason == why


def test_without_the_tunnel_at_the_other_end_nobody_takes_it_out() -> None:
    netns = network(plan(), "node2")
    links = tuple(link for link in netns.links if link.name != "vxlan0")
    made = replace(plan(), netns={**plan().netns, netns.name: replace(netns, links=links)})
    leg = send(made, "client1", "10.0.1.6").forward
    assert leg.reason == "node2 has no VXLAN link 4097 on port 4789" and str(leg.hops[-1].point) == "node2:eth0"


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ("cni: {mode: docker-swarm, options: {endpoint_mode: no}}", "endpoint_mode is false, must be dnsrr or vip"),
        ("cni: {mode: docker-swarm, options: {vni: 1}}", "cni.options.vni is 1, must be 4096-16777215"),
        ("cni: {mode: docker-swarm, options: {ingress: true}}", "ingress is true, must be a range as 10.0.0.0/24"),
        ("cni: {mode: docker-swarm, options: {ingress: 10.9.0.0/24}}", "and only with endpoint_mode vip there is one"),
        ("cni: {mode: docker-swarm, options: {routing: true}}", "unknown option routing"),
        ("cni: docker-swarm\nfamily: ipv6", "family is ipv6, must be ipv4 with cni docker-swarm"),
        ("cni: docker-swarm\nranges: {pods: 172.18.4.0/24}", "overlaps docker_gwbridge's 172.18.0.0/16"),
        ("cni: docker-swarm\nranges: {nodes: 172.17.4.0/24}", "overlaps docker0's 172.17.0.0/16"),
        ("cni: docker-swarm\nranges: {pods: 10.1.0.0/16}", "must be smaller than docker_gwbridge's 172.18.0.0/16"),
    ],
)
def test_what_cannot_be_is_refused_at_its_line(tmp_path: Path, lines: str, wrong: str) -> None:
    (tmp_path / "topology.yaml").write_text(f"name: a\nnodes: 2\n{lines}\n")
    with pytest.raises(InputError, match=wrong):
        load.topology(tmp_path, planners.check)


def test_published_ports_are_refused(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text("name: a\nnodes: 1\ncni: docker-swarm\n")
    (tmp_path / "manifests").mkdir()
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
    port = "    - {name: a, image: nginx, ports: [{containerPort: 80, hostPort: 80}]}\n"
    (tmp_path / "manifests" / "a.yaml").write_text(pod + port)
    topology, loaded = load.testbed(tmp_path)
    objects = {key_of(each): each for each in loaded.objects}
    with pytest.raises(InputError, match="hostPort"):
        resolve.resolve(topology, objects, images.load_registry({}), "2026-01-01T00:00:00Z")


def test_names_are_those_of_containers_and_of_services_with_containers() -> None:
    names = dict(plan().zone.embedded)
    containers = {name: address for name, (address, *_) in names.items() if name.removeprefix("tasks.") != "web"}
    assert containers == {
        "web1": "10.0.1.2", "web2": "10.0.1.3", "client1": "10.0.1.4", "client2": "10.0.1.5", "db": "10.0.1.6",
    }  # fmt: skip
    pod = plan().netns["default.client1"].pod
    assert pod is not None and pod.resolver == "127.0.0.11"
    assert next(f.text for f in pod.files if f.path == "/etc/resolv.conf") == "nameserver 127.0.0.11\noptions ndots:0\n"


def test_another_modes_containers_have_no_server_in_them() -> None:
    made = shipped.plan("two-hosts-docker")
    assert made.zone.embedded == () and {n.pod.resolver for n in made.netns.values() if n.pod} == {""}
