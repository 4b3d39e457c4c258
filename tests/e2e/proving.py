"""What the tests of traces share: labs of other shapes, one lab for many cases, names as a case writes them."""

from __future__ import annotations

import faulthandler
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pytest
from labs import TWO_NODES, Labs

from emu import names
from emu.kernel import process
from emu.netfilter.model import Chain
from emu.plan.model import Link, NetnsPlan, Role
from emu.testbed import request
from emu.testbed.facade import Testbed
from emu.trace.model import TraceResult

T, R = TypeVar("T"), TypeVar("R")
Inside = Callable[[Testbed], Any]
LONGEST_S = 100


@contextmanager
def directory() -> Iterator[Path]:
    """For a lab's runtime files: a short path, for a Unix socket's name has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="emu-") as path:
        yield Path(path)


def inside(function: Inside, *, nodes: int = 2, **fields: str) -> Any:
    """In a lab with the two-node topology's manifests and other Nodes, family, iptables …; root only."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with directory() as path:
        lines = ["name: proving", f"nodes: {nodes}", *(f"{key}: {value}" for key, value in fields.items())]
        (path / "manifests").mkdir()
        for file in (TWO_NODES / "manifests").iterdir():
            text = file.read_text() if nodes > 1 else file.read_text().replace("nodeName: node2", "nodeName: node1")
            (path / "manifests" / file.name).write_text(text)
        (path / "topology.yaml").write_text("\n".join(lines) + "\n")

        def patient(lab: Testbed) -> Any:
            faulthandler.dump_traceback_later(LONGEST_S, exit=True, file=2)
            return function(lab)

        return Labs(path)(patient, topology=path)


def side_by_side(function: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
    """Labs mostly wait. Each is started by a process of its own, for the one that starts a lab has no other thread."""
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        return list(pool.map(function, arguments))


def impatient() -> None:
    """In a lab's process: what is dropped on purpose need not be waited for."""
    request.TIMEOUT_S = 0.4


def shell(lab: Testbed, netns: str, command: str) -> None:
    """Behind the testbed's back: with the machine's tools, in a netns of the lab."""
    process.run(["sh", "-ec", command], ns=lab.host.netns(netns))


def spelled(lab: Testbed) -> dict[str, str]:
    """Names a case may use: the nginx Pod (on node2, behind nginx-svc alone), its address and link, its DNAT chain; the
    client (on node1) and its link; the Nodes' tunnels."""
    assert lab.cluster is not None and lab.plan is not None
    nginx = next(pod for pod in lab.cluster.pods if "nginx-hello" in pod.key)
    client = next(pod for pod in lab.cluster.pods if pod.key == "default/client")
    node1, node2 = lab.plan.netns["node1"], lab.plan.netns["node2"]
    return {
        "nginx": nginx.name,
        "nginx_netns": names.pod_netns(nginx.namespace, nginx.name),
        "nginx_ip": str(nginx.addresses[0]),
        "nginx_veth": _link(node2, Role.HOST_VETH, nginx.key).name,
        "client_ip": str(client.addresses[0]),
        "client_veth": _link(node1, Role.HOST_VETH, client.key).name,
        "vtep1": _tunnel_mac(node1),
        "vtep2": _tunnel_mac(node2),
        "sep": endpoint_chain(node1, f"{nginx.addresses[0]}:80").name,
    }


def endpoint_chain(node: NetnsPlan, backend: str) -> Chain:
    """The kube-proxy chain that translates to this backend."""
    nat = next(table for table in node.tables if table.name == "nat")
    return next(c for c in nat.chains if any(rule.target_options.endswith(f" {backend}") for rule in c.rules))


def _tunnel_mac(plan: NetnsPlan) -> str:
    """ "" in a mode without tunnels."""
    return next((link.mac for link in plan.links if link.role is Role.TUNNEL), "")


def _link(plan: NetnsPlan, role: Role, owner: str = "") -> Link:
    return next(link for link in plan.links if link.role is role and owner in ("", link.owner))


def failures(results: tuple[TraceResult, ...]) -> list[str]:
    return [
        f"{each.flow.label}: {each.difference.what if each.difference else 'nothing predicted'}; {each.reply_text}"
        for each in results
        if not each.ok
    ]
