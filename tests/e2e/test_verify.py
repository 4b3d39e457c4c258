"""Every kind of path of a topology is as predicted, in every shape of it, every time."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache
from tempfile import TemporaryFile
from typing import Any

import pytest
from proving import failures, inside, side_by_side

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
SHAPES: list[dict[str, Any]] = [
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


@dataclass(frozen=True)
class Verified:
    wrong: list[str]
    kinds: set[str]
    unexplained: list[str]
    causes: set[CauseKind]
    drift: list[str]


def _verify(shape: dict[str, Any]) -> Verified:
    def run(lab: Testbed) -> Verified:
        results = lab.verify()
        seen = [(_kind(result), hop) for result in results for hop in _hops(result)]
        return Verified(
            wrong=failures(results),
            kinds={_kind(each) for each in results},
            unexplained=[f"{kind}: {hop.point}" for kind, hop in seen if not hop.causes],
            causes={cause.kind for _, hop in seen for cause in hop.causes},
            drift=[str(each) for each in lab.check()],
        )

    return inside(run, **shape)  # type: ignore[no-any-return]


@cache
def _verified() -> list[Verified]:
    return side_by_side(_verify, SHAPES)


@pytest.mark.parametrize("number", range(len(SHAPES)), ids=[" ".join(map(str, shape.values())) for shape in SHAPES])
def test_every_kind_of_path_is_as_predicted(number: int) -> None:
    shape, found = SHAPES[number], _verified()[number]
    assert found.wrong == []
    assert found.kinds == (ALWAYS | BETWEEN_NODES if shape["nodes"] != 1 else ALWAYS)
    assert found.unexplained == [], "every hop has its cause, read from the kernel"
    assert found.causes == set(CauseKind) - {CauseKind.TUNNEL, CauseKind.EBPF, CauseKind.IPVS} - (
        {CauseKind.FDB} if shape["nodes"] == 1 else set()
    )
    assert found.drift == []


@pytest.mark.slow
def test_five_times_in_a_row_every_path_is_as_predicted() -> None:
    def run(lab: Testbed) -> list[str]:
        return [wrong for _ in range(5) for wrong in failures(lab.verify())]

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
