"""What a plan takes of a machine, counted on clusters small enough to count by hand."""

from __future__ import annotations

import pytest

from emu import planners
from emu.api import images, load, topologyfile
from emu.api.objects import key_of
from emu.cluster import resolve
from emu.plan.model import Plan
from emu.plan.needs import needs, neighbors

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


def plan(mode: str, nodes: int, pods: int, *, more: str = "", image: str = "nginxdemos/hello", extra: str = "") -> Plan:
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
    return planners.build(resolve.resolve(topology, {key_of(obj): obj for obj in objects}, registry, NOW))


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
