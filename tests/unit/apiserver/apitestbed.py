"""A testbed without a kernel: a real store, the real resolve passes, Pods that are ready as soon as they exist."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path as FilePath

from emu.api import images, load
from emu.api.objects import (
    Condition,
    ContainerState,
    ContainerStateRunning,
    ContainerStatus,
    Deployment,
    Key,
    KubeObject,
    Pod,
    ReplicaSet,
    key_of,
)
from emu.api.topology import Cni, NodeEntry, Topology
from emu.cluster import resolve
from emu.cluster.update import updated
from emu.errors import Place
from emu.kernel import process
from emu.plan.drift import Drift
from emu.plan.model import NetnsChange, Plan
from emu.store import Store
from emu.trace.model import Difference, Flow, Leg, Path, Prediction, TraceResult

TOPOLOGY = Topology(name="test", nodes=(NodeEntry(name="node1"), NodeEntry(name="node2")), cni=Cni())
NOW = "2020-11-20T10:00:00Z"

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: agnhost
        image: registry.k8s.io/e2e-test-images/agnhost:2.47
        args: [netexec, --http-port=8080]
        env: [{name: MODE, value: "80"}, {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{name: http, containerPort: 8080}, {name: udp, containerPort: 8081, protocol: UDP}]
        readinessProbe: {httpGet: {path: /, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {note: "a: <b>"}}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      nodeSelector: {kubernetes.io/os: linux}
      serviceAccountName: agent
      priorityClassName: system-node-critical
      containers: [{name: agent, image: nicolaka/netshoot, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  nodeName: node1
  containers: [{name: shell, image: nicolaka/netshoot}]
"""


@dataclass(frozen=True)
class Applied:
    object: KubeObject
    word: str


@dataclass
class SmallTestbed:
    store: Store = field(default_factory=lambda: Store(now=lambda: NOW))
    topology: Topology = TOPOLOGY
    registry: Mapping[str, images.Image] = field(default_factory=lambda: images.load_registry({}))
    cluster: object = None
    plan: Plan | None = field(default_factory=lambda: Plan(name="test", seed=0))
    drifts: tuple[Drift, ...] = ()
    calls: list[tuple[object, ...]] = field(default_factory=list)
    error: Exception | None = None

    def apply(self, objects: Iterable[KubeObject], places: Mapping[Key, Place] | None = None) -> Sequence[Applied]:
        if self.error:
            raise self.error
        objects = list(objects)
        before = self.store.snapshot().objects
        self._settle({**before, **{key_of(each): updated(before.get(key_of(each)), each) for each in objects}})
        after = self.store.snapshot().objects
        return [Applied(after[key_of(each)], _word(before, after, key_of(each))) for each in objects]

    def _settle(self, objects: Mapping[Key, KubeObject]) -> None:
        cluster = resolve.resolve(self.topology, objects, self.registry, NOW)
        ready = {key: _ready(each) if isinstance(each, Pod) else each for key, each in cluster.objects.items()}
        self.cluster = resolve.resolve(self.topology, ready, self.registry, NOW)
        gone = [key for key in self.store.snapshot().objects if key not in self.cluster.objects]
        self.store.write(self.cluster.objects.values(), gone)

    def delete(self, keys: Iterable[Key], grace_period_s: int | None = None) -> None:
        keys = list(keys)
        self.calls.append(("delete", keys, grace_period_s))
        self._settle({key: each for key, each in self.store.snapshot().objects.items() if key not in keys})

    def scale(self, key: Key, replicas: int) -> KubeObject:
        obj = self.get(key)
        assert isinstance(obj, Deployment | ReplicaSet)
        self._settle({**self.store.snapshot().objects, key: replace(obj, spec=replace(obj.spec, replicas=replicas))})
        return self.get(key)

    def get(self, key: Key) -> KubeObject:
        return self.store.snapshot().objects[key]

    def check(self, repair: bool = False) -> tuple[Drift, ...]:
        self.calls.append(("check", repair))
        return self.drifts

    def logs(self, namespace: str, pod: str, container: str, previous: bool) -> FilePath:
        file = FilePath(tempfile.mkdtemp()) / "log"
        file.write_text(f"{namespace}/{pod}/{container}\nprevious {previous}\nlast line\n")
        return file

    def exec(
        self,
        target: str,
        argv: Sequence[str],
        fds: tuple[int, int, int],
        tty: bool = False,
        container: str = "",
        *,
        started: Callable[[process.Child], None] = lambda _: None,
    ) -> int:
        """On this machine: what is tested is the way there and back."""
        child = process.spawn(argv, stdin=fds[0], stdout=fds[1], stderr=fds[2], tty=tty)
        started(child)
        return child.wait() or 0

    def capture(
        self, selectors: tuple[str, ...], fd: int, until: threading.Event, armed: Callable[[Sequence[str]], None]
    ) -> Mapping[str, int]:
        armed(selectors)
        until.wait(10)
        return dict.fromkeys(selectors, 0)

    def trace(self, source: str, target: str, command: Sequence[str] = (), proto: str = "", **_: object) -> TraceResult:
        """What is asked for "broken" goes another way than predicted."""
        return traced(f"{source} → {target} {proto} {' '.join(command)}".strip(), ok="broken" not in target)

    def verify(self, progress: Callable[[str, int, int], None], fd: int | None) -> tuple[TraceResult, ...]:
        if fd is not None:
            os.write(fd, b"packets")
        progress("one", 1, 2)
        return (traced("one", ok=True), traced("two", ok=not self.drifts))


def traced(label: str, *, ok: bool) -> TraceResult:
    flow = Flow(netns="node1", dst=ip_address("10.244.1.2"), proto="tcp", dport=80, label=label)
    path = Path(forward=Leg(hops=()))
    wrong = None if ok else Difference(leg="forward", index=0, expected=None, observed=None, what="it went elsewhere")
    return TraceResult(
        flow=flow,
        prediction=Prediction(flow=flow, paths=(path,)),
        observed=path,
        matched=0 if ok else None,
        difference=wrong,
    )


def drift(text: str) -> Drift:
    return Drift(
        netns="node1", what="route", wanted=text, got="missing", change=NetnsChange(name="node1", old=None, new=None)
    )


def _word(before: Mapping[Key, KubeObject], after: Mapping[Key, KubeObject], key: Key) -> str:
    if key not in before:
        return "created"
    return "unchanged" if before[key] is after[key] else "configured"


def _ready(pod: Pod) -> Pod:
    running = ContainerState(running=ContainerStateRunning(started_at=NOW))
    statuses = tuple(
        ContainerStatus(name=each.name, image=each.image, ready=True, started=True, state=running)
        for each in pod.spec.containers
    )
    others = tuple(each for each in pod.status.conditions if each.type not in ("Ready", "ContainersReady"))
    made = tuple(Condition(type=name, status="True") for name in ("Ready", "ContainersReady"))
    status = replace(pod.status, phase="Running", container_statuses=statuses, conditions=others + made)
    return replace(pod, status=status)


def filled(history: int = 1000) -> SmallTestbed:
    testbed = SmallTestbed(Store(now=lambda: NOW, history=history))
    testbed.apply(load.parse_manifests(WEB, "web.yaml").objects)
    return testbed
