"""A Reconciler over a host that makes nothing true: what is stored and what is asked of the host can be seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

from emu.api.objects import KubeObject, NodeSystemInfo, ObjectMeta
from emu.api.topology import Dns, NodeEntry, Topology
from emu.plan.model import Changes, Plan
from emu.testbed.reconciler import Reconciler

NOW = "2026-01-01T00:00:00Z"


@dataclass
class NoHost:
    """Pods stop when the test says so: `stopped` holds what the kubelet would call, of the Pods in `stopping`."""

    kernel: object = field(
        default_factory=lambda: SimpleNamespace(
            absent=lambda plan: (),
            apply=lambda changes, plan: None,
            daemons=SimpleNamespace(on_change=None, stopped=lambda node: {}),
            plugins=SimpleNamespace(on_change=None, found={}, outcomes=deque(), due_s=lambda: None),
            retry=lambda: None,
        )
    )
    system: NodeSystemInfo = NodeSystemInfo(kernel_version="6.1.0", os_image="Debian GNU/Linux 12 (bookworm)")
    stopping: list[ObjectMeta] = field(default_factory=list)
    stopped: list[Callable[[], None]] = field(default_factory=list)

    def reports(self, receiver: Callable[[Mapping], None]) -> None:
        self.report = receiver

    def follow(self, changes: Changes, plan: Plan) -> None: ...

    def flush(self, stale: Iterable, nodes: Iterable) -> None: ...

    def stop(self, pod: ObjectMeta, done: Callable[[], None]) -> None:
        self.stopping.append(pod)
        self.stopped.append(done)

    def close(self) -> None: ...


def lab(*objects: KubeObject, dns: int = 1) -> Reconciler:
    nodes = (NodeEntry(name="node1"), NodeEntry(name="node2"))
    made = Reconciler(Topology(name="lab", nodes=nodes, dns=Dns(replicas=dns)), NoHost(), now=lambda: NOW)
    made.apply(objects)
    return made
