"""The flows of a planned cluster, and what is predicted of each: the planners' own plans, not one made by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emu import planners
from emu.api.objects import ContainerPort
from emu.cluster.model import Cluster
from emu.trace.flows import every_path
from emu.trace.model import Flow, Prediction, Verdict
from emu.trace.predict import predict

sys.path.insert(0, str(Path(__file__).parents[1] / "planners"))
from clusters import cluster


def served(family: str = "ipv4") -> Cluster:
    """Two Pods on each of two Nodes that declare port 8080, behind one Service; and a Service without endpoints."""
    base = cluster(nodes=2, pods=2, services=2, family=family)
    pods = []
    for pod in base.pods:
        (one,) = pod.containers
        container = replace(one.container, ports=(ContainerPort(container_port=8080),))
        pods.append(replace(pod, containers=(replace(one, container=container),)))
    halves = len(base.frontends) // len(base.families)
    empty = {index for index in range(len(base.frontends)) if index % halves == 1}
    frontends = tuple(replace(f, backends=()) if i in empty else f for i, f in enumerate(base.frontends))
    return replace(base, pods=tuple(pods), frontends=frontends)


def predictions(of: Cluster) -> dict[str, tuple[Flow, Prediction]]:
    plan = planners.build(of)
    return {flow.label.partition(":")[0]: (flow, predict(plan, flow)) for flow in every_path(of, plan)}


KINDS = [
    "Pod to Pod, same Node",
    "Pod to Pod, same Node, ping",
    "Pod to Pod, other Node",
    "Pod to Pod, other Node, ping",
    "Pod to Service",
    "Pod to itself by its Service",
    "Pod to a Service without endpoints",
    "Node to Pod, own Node",
    "Node to Pod, other Node",
    "Node to Service",
    "Pod to its own Node",
    "Pod to another Node",
]


def test_every_kind_of_path_of_a_cluster_has_one_flow() -> None:
    assert sorted(predictions(served())) == sorted(KINDS)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_all_but_the_empty_service_are_predicted_to_be_delivered_and_answered(family: str) -> None:
    for label, (_, prediction) in predictions(served(family)).items():
        ends = {(p.forward.verdict, p.reply.verdict if p.reply else None) for p in prediction.paths}
        expected = Verdict.REJECTED if "without endpoints" in label else Verdict.DELIVERED
        assert ends == {(expected, Verdict.DELIVERED)}, label


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_other_nodes_are_reached_through_the_tunnel_in_either_family(family: str) -> None:
    _, prediction = predictions(served(family))["Pod to Pod, other Node"]
    (path,) = prediction.paths
    assert [bool(hop.encapsulation) for hop in path.forward.hops] == [False] * 4 + [True] * 4 + [False] * 4


def test_a_service_has_a_path_for_each_of_its_backends() -> None:
    of = served()
    _, prediction = predictions(of)["Pod to Service"]
    assert len(prediction.paths) == len(of.frontends[0].backends)
    assert sum(path.forward.probability for path in prediction.paths) == pytest.approx(1)
