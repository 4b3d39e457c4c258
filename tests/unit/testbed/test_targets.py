"""What a user names on the command line, and what is said of a name that nothing has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import shipped
from cluster_world import cluster, pod, service, topology

from emu import planners
from emu.api.topology import Fabric, Ranges, RouterEntry
from emu.cluster.model import Cluster
from emu.errors import InputError, NotFound
from emu.testbed import targets
from emu.trace.model import TraceResult
from emu.trace.predict import predict


@pytest.fixture(scope="module")
def where() -> Cluster:
    fabric = Fabric(switches=("left", "right"), routers=(RouterEntry(name="r1", links=("left", "right")),))
    made = topology(2, ranges=Ranges(nodes=("192.168.101.0/24", "192.168.102.0/24")), fabric=fabric)
    nodes = tuple(replace(node, switch=switch) for node, switch in zip(made.nodes, fabric.switches, strict=True))
    return cluster(pod("client"), pod("other"), service("web"), topo=replace(made, nodes=nodes))


@pytest.mark.parametrize(
    ("text", "netns"),
    [("default/client", "default.client"), ("node1", "node1"), ("r1", "r1"), ("default/r1", "r1")],
)
def test_a_program_runs_in_a_pod_on_a_node_or_a_router(where: Cluster, text: str, netns: str) -> None:
    assert targets.place(where, text) == netns


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("default/nope", 'pods "nope" not found', ""),
        ("default/cleint", 'pods "cleint" not found', "did you mean client?"),
        ("nod1", 'nodes "nod1" not found', "did you mean node1?"),
    ],
)
def test_a_name_that_nothing_has_is_said_as_typed(where: Cluster, text: str, told: str, hint: str) -> None:
    with pytest.raises(NotFound) as error:
        targets.place(where, text)
    assert (error.value.message, error.value.hint) == (told, hint)


def test_a_trace_names_what_is_near_and_no_more(where: Cluster) -> None:
    with pytest.raises(InputError) as error:
        targets.flow(where, "cleint", "web:80")
    assert (error.value.message, error.value.hint) == ("no Pod or Node is called 'cleint'", "did you mean client?")
    with pytest.raises(InputError) as error:
        targets.flow(where, "client", "webb:80")
    assert error.value.hint == "did you mean web?"
    with pytest.raises(InputError) as error:
        targets.flow(where, "zzz", "web:80")
    assert error.value.hint == "emu get pods,nodes -A"


def test_of_two_families_the_one_that_is_asked_for() -> None:
    dual = shipped.cluster("two-node-flannel-vxlan-dual-stack")
    told = {family: str(targets.target(dual, "client2", family).address) for family in (0, 4, 6)}
    assert told == {0: "10.244.2.3", 4: "10.244.2.3", 6: "fd00:10:244:2::3"}
    assert targets.target(dual, "web-both:80", 6).address.version == 6
    assert targets.target(dual, "node1", 6).address.version == 6


def test_a_family_that_a_target_has_not_is_refused_with_what_it_has() -> None:
    dual = shipped.cluster("two-node-flannel-vxlan-dual-stack")
    with pytest.raises(InputError) as error:
        targets.target(dual, "nginx-svc", 6)
    assert str(error.value).startswith("Service nginx-svc has no IPv6 address")


def as_predicted(made: Cluster, source: str, target: str) -> list[str]:
    """What is remarked on a request that went as predicted."""
    flow = targets.flow(made, source, target)
    prediction = predict(planners.build(made), flow)
    result = TraceResult(flow=flow, prediction=prediction, observed=prediction.paths[0], matched=0)
    return list(targets.remarks(made, result))


def test_of_an_address_that_several_pods_have_it_is_said_who_took_the_packet() -> None:
    docker = shipped.cluster("two-hosts-docker")
    both = "default/web1, default/web2 all have the address 172.17.0.2: this came to default/web1"
    assert as_predicted(docker, "client1", "web2") == as_predicted(docker, "client1", "web1") == [both]
    (itself,) = as_predicted(docker, "client1", "client2")
    assert itself.endswith(": this came to default/client1 itself")
    assert as_predicted(docker, "client1", "node2") == []


def test_a_port_that_a_service_has_not_is_told() -> None:
    flannel = shipped.cluster("two-node-flannel-vxlan")
    assert as_predicted(flannel, "client", "nginx-svc:99") == [
        "Service default/nginx-svc has no port 99/TCP, it has: tcp 80/TCP"
    ]
    assert as_predicted(flannel, "client", "nginx-svc") == as_predicted(flannel, "client", "node1") == []
