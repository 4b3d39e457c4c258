"""What a plan takes of a machine, counted on clusters small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import shipped

from emu import planners
from emu.api import images, load, topologyfile
from emu.api.objects import key_of
from emu.cluster import resolve
from emu.plan.model import Plan
from emu.plan.needs import FILES_FOR_PROGRAMS, needs, neighbors

NOW = "2000-01-01T00:00:00Z"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  containers:
    - name: c
      image: {image}
      {more}
---
"""
PROBE = "readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 10}"


def plan(
    mode: str,
    nodes: int,
    pods: int,
    *,
    more: str = "",
    image: str = "nginxdemos/hello",
    extra: str = "",
    ipip_module: bool = True,
) -> Plan:
    """So many Pods on each Node, and nothing else: no cluster DNS."""
    text = f"name: x\nnodes: {nodes}\ncni: {mode}\ndns: {{replicas: 0}}\n{extra}"
    topology = topologyfile.parse(text, "topology.yaml", planners.check)
    each = [
        POD.format(name=f"p{n}-{p}", node=f"node{n}", image=image, more=more)
        for n in range(1, nodes + 1)
        for p in range(pods)
    ]
    objects = load.parse_manifests("".join(each), "pods.yaml").objects
    registry = images.load_registry(topology.images)
    cluster = resolve.resolve(topology, {key_of(obj): obj for obj in objects}, registry, NOW)
    return planners.build(replace(cluster, ipip_module=ipip_module))


def amount(limit: str, of: Plan) -> int:
    return next(need.amount for need in needs(of) if need.limit == limit)


@pytest.mark.parametrize(
    "mode", ["flannel-vxlan", "flannel-host-gw", "calico-vxlan", "calico-bgp", "calico-ipip", "canal"]
)
@pytest.mark.parametrize(("nodes", "pods"), [(2, 3), (4, 1), (3, 0)])
def test_each_pod_is_a_neighbor_and_has_one_and_each_node_has_the_others(mode: str, nodes: int, pods: int) -> None:
    """The VTEPs' entries are permanent: they do not count."""
    assert neighbors(plan(mode, nodes, pods)) == {4: nodes * pods * 2 + nodes * (nodes - 1)}


def test_in_a_vpc_each_node_has_every_others_pods_and_each_eni_the_gateway() -> None:
    """A Pod's own entry is permanent. A Node: its three Pods, the other Node and its three, the gateway on both ENIs.
    The VPC's are permanent too, but for the internet's."""
    assert neighbors(plan("aws-vpc", 2, 3)) == {4: 2 * (3 + 1 + 3 + 2) + 1}


def test_both_families_have_a_table_each() -> None:
    found = neighbors(plan("flannel-vxlan", 2, 3, extra="family: ipv4-ipv6\n"))
    assert found == {4: 2 * 3 * 2 + 2, 6: 2 * 3 * 2 + 2}


def test_a_hundred_nodes_need_more_neighbors_than_a_stock_machine_grants() -> None:
    assert neighbors(plan("flannel-vxlan", 100, 10))[4] == 2000 + 9900


def test_files_and_namespaces_are_counted_by_network_namespace() -> None:
    of = plan("flannel-vxlan", 2, 3)
    spaces = 2 + 6 + 1  # the fabric's
    assert len(of.netns) == spaces
    assert amount("files", of) == 96 + 3 * spaces
    assert amount("net-namespaces", of) == spaces + 3
    assert amount("terminals", of) == 2 + 6


def test_programs_that_a_node_keeps_the_maps_of_are_open_files() -> None:
    """Those at sockets are loaded once; a tunnel that is a TUN device is one."""
    flannel, cilium, ipip = (amount("files", plan(mode, 4, 1)) for mode in ("flannel-vxlan", "cilium", "calico-ipip"))
    assert cilium - flannel == (4 + 1) * FILES_FOR_PROGRAMS
    assert flannel == ipip == 96 + 3 * 9
    assert amount("files", plan("calico-ipip", 4, 1, ipip_module=False)) == ipip + 4


def test_in_a_swarm_a_container_is_a_neighbor_by_each_of_its_networks_once() -> None:
    """On a Node: its two containers by docker_gwbridge, and the other Node. A container: docker_gwbridge. In the
    overlay network's own namespace nothing runs, and its link's entries are permanent."""
    assert neighbors(plan("docker-swarm", 2, 2)) == {4: 2 * (2 + 1) + 4}


def test_a_load_balancer_and_each_of_its_servers_are_neighbors() -> None:
    """A Swarm's, of which each of three hosts has two, for two tasks: one for virtual addresses, one for ports."""
    made = planners.build(shipped.ready("three-hosts-docker-swarm-ports"))
    bare = {name: replace(space, real_servers=()) for name, space in made.netns.items()}
    assert neighbors(made)[4] - neighbors(replace(made, netns=bare))[4] == 3 * 2 * 2 * 2


@pytest.mark.parametrize(
    ("mode", "where", "ports"),
    [("vm", "fabric", 3 + 3 * 5), ("flannel-vxlan", "node1's cni0", 5), ("calico-bgp", "fabric", 3)],
)
def test_the_fullest_bridge_is_told(mode: str, where: str, ports: int) -> None:
    need = next(each for each in needs(plan(mode, 3, 5)) if each.limit == "bridge-ports")
    assert (need.what, need.amount) == (f"what is plugged into {where}", ports)


def test_only_what_runs_programs_has_processes_and_namespaces_of_its_own() -> None:
    served = plan("flannel-vxlan", 2, 3, image='"nginxdemos/hello:plain-text"')
    programs = plan("flannel-vxlan", 2, 3, image="nicolaka/netshoot", more="args: [sleep, infinity]")
    bird = plan("calico-bgp", 2, 3, image='"nginxdemos/hello:plain-text"')
    assert [amount("pid-namespaces", of) - 3 for of in (served, programs, bird)] == [0, 6, 2]
    assert amount("processes", programs) - amount("processes", served) == 12
    assert amount("processes", bird) - amount("processes", served) == 4


def test_probes_are_flows_for_as_long_as_they_are_remembered() -> None:
    none, probed = plan("flannel-vxlan", 2, 3), plan("flannel-vxlan", 2, 3, more=PROBE)
    assert amount("conntrack", none) == 64
    assert amount("conntrack", probed) == 64 + 3 * (120 // 10 + 1)
