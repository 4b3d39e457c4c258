"""Every kind of path of a topology is as predicted, in every shape of it, every time."""

from __future__ import annotations

import itertools
import random
from tempfile import TemporaryFile

import pytest
from proving import failures, inside

from emu.testbed.facade import Testbed
from emu.trace.model import CauseKind, Hop, TraceResult

pytestmark = pytest.mark.root

ALWAYS = {
    "Pod to Pod, same Node",
    "Pod to Pod, same Node, ping",
    "Pod to Service",
    "Pod to the API server's Service",
    "cluster DNS over UDP",
    "cluster DNS over TCP",
    "Pod to itself by its Service",
    "Pod to a Service without endpoints",
    "Node to Pod, own Node",
    "Node to Service",
    "Pod to its own Node",
}
BETWEEN_NODES = {
    "Pod to Pod, other Node",
    "Pod to Pod, other Node, ping",
    "Node to Pod, other Node",
    "Pod to another Node",
}
SHAPES = [
    {"nodes": 1},
    {"nodes": 2},
    {"nodes": 3},
    {"nodes": 2, "iptables": "legacy"},
    {"nodes": 2, "family": "ipv6"},
    {"nodes": 2, "family": "ipv4-ipv6"},
    {"nodes": 2, "family": "ipv6-ipv4"},
]


def _hops(result: TraceResult) -> list[Hop]:
    return [hop for leg in (result.observed.forward, result.observed.reply) if leg for hop in leg.hops]


def _kind(result: TraceResult) -> str:
    return result.flow.label.split(":")[0]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(f"{v}" for v in shape.values()))
def test_every_kind_of_path_is_as_predicted(shape: dict[str, object]) -> None:
    def run(lab: Testbed) -> tuple[list[str], set[str], list[str], set[CauseKind], list[str]]:
        results = lab.verify()
        hops = [hop for result in results for hop in _hops(result)]
        causes = {cause.kind for hop in hops for cause in hop.causes}
        unexplained = [f"{_kind(result)}: {hop.point}" for result in results for hop in _hops(result) if not hop.causes]
        drift = [str(each) for each in lab.check()]
        return failures(results), {_kind(each) for each in results}, unexplained, causes, drift

    wrong, kinds, unexplained, causes, drift = inside(run, **shape)  # type: ignore[arg-type]
    assert wrong == []
    assert kinds == (ALWAYS | BETWEEN_NODES if shape["nodes"] != 1 else ALWAYS)
    assert unexplained == [], "every hop has its cause, read from the kernel"
    assert causes == set(CauseKind) - ({CauseKind.FDB} if shape["nodes"] == 1 else set())
    assert drift == []


@pytest.mark.slow
def test_twenty_times_in_a_row_every_path_is_as_predicted() -> None:
    def run(lab: Testbed) -> list[str]:
        return [wrong for _ in range(20) for wrong in failures(lab.verify())]

    assert inside(run) == []


def test_verify_tells_its_progress_and_writes_all_of_it_to_one_file() -> None:
    def run(lab: Testbed) -> tuple[list[tuple[str, int, int]], int, bytes]:
        told: list[tuple[str, int, int]] = []
        with TemporaryFile() as file:
            results = lab.verify(lambda *step: told.append(step), fd=file.fileno())
            file.seek(0)
            return told, len(results), file.read(4)

    told, count, magic = inside(run)
    assert [done for _, done, _ in told] == list(range(count + 1))
    assert {total for *_, total in told} == {count}
    assert magic == b"\x0a\x0d\x0d\x0a"  # a pcapng section


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_any_pair_is_as_predicted(nodes: int) -> None:
    """Ten random requests: any Pod or Node to any Pod, Service port or Node, by any protocol."""

    def run(lab: Testbed) -> list[str]:
        assert lab.cluster is not None
        chosen = random.Random(nodes)
        pods = [pod.key for pod in lab.cluster.pods]
        hosts = [node.name for node in lab.cluster.nodes]
        services = [f"{f.namespace}/{f.service}:{f.port_name or f.port}" for f in lab.cluster.frontends]
        targets = [
            *((name, "icmp") for name in pods + hosts),
            *((f"{name}:{port}", "") for name, port in itertools.product(pods + hosts, (80, 8080, 9))),
            *((name, "") for name in services * 3),
        ]
        pairs = [(chosen.choice(pods + hosts), *chosen.choice(targets)) for _ in range(10)]
        return failures(tuple(lab.trace(source, target, proto=proto) for source, target, proto in pairs))

    assert inside(run, nodes=nodes) == []
