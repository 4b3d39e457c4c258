"""The façade: everything a front end can ask of a running testbed."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from emu import planners
from emu.api import images
from emu.api.objects import Deployment, Key, KubeObject, Pod, PodStatus, ReplicaSet, key_of
from emu.api.topology import Topology
from emu.capture.points import all_points, points
from emu.capture.recorder import Recorder, opener
from emu.cluster import lifecycle, objectmap, report, resolve, staleflows, update
from emu.cluster.model import Cluster
from emu.errors import EmuError, InputError, MissingTool, NotFound, Place
from emu.kernel.process import Child
from emu.plan import diff
from emu.plan.drift import Drift, drift
from emu.plan.model import Changes, Plan
from emu.store import Store
from emu.testbed import targets, tracing
from emu.testbed.host import Host
from emu.testbed.request import Reply
from emu.trace.flows import every_path
from emu.trace.model import Flow, TraceResult

log = logging.getLogger(__name__)

REPAIRS = 3  # mending can take other things along: with an address that is too many go the routes by it
CREATED, CONFIGURED, UNCHANGED = "created", "configured", "unchanged"

T = TypeVar("T")
Progress = Callable[[str, int, int], None]


def utc_now() -> str:
    """RFC 3339, whole seconds, as Kubernetes writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did to one object: `created`, `configured` or `unchanged`."""

    object: KubeObject
    word: str


class Testbed:
    """One running lab. Every write goes through `_write`, and then `reconcile` brings the kernel after it.

    `host` has the effects; nothing here calls the kernel otherwise. Thread safe: one lock holds a reconcile together,
    and what the kubelet reports is folded in by a thread of its own."""

    def __init__(self, topology: Topology, host: Host, now: Callable[[], str] = utc_now) -> None:
        self.topology = topology
        self.host = host
        self.store = Store(topology.seed, now=now)
        self.registry = images.load_registry(topology.images)
        self.cluster: Cluster | None = None
        self.plan: Plan | None = None
        self._now = now
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._settled = threading.Condition()
        self._closed = False
        self._stopping: set[str] = set()  # uids of Pods the kubelet was told to stop
        self._ended: deque[Pod] = deque()  # and that it has stopped
        self._reports: deque[tuple[Key, PodStatus]] = deque()
        host.reports(self._report)
        self._loop = threading.Thread(target=self._run, name="reconcile", daemon=True)

    def up(
        self,
        objects: Iterable[KubeObject],
        progress: Progress = lambda *_: None,
        places: Mapping[Key, Place] | None = None,
    ) -> None:
        """Bring everything up and return when it is ready. Raises before the first effect if the input is wrong."""
        progress("namespaces, links and rules", 0, 0)
        self.apply(objects, places)
        self._loop.start()
        self.wait_ready(60, progress)

    # -- writes -----------------------------------------------------------------------------------------------------

    def apply(self, objects: Iterable[KubeObject], places: Mapping[Key, Place] | None = None) -> tuple[Applied, ...]:
        """Like `kubectl apply`. Nothing is stored and nothing changes if the outcome cannot be. `places` lets a
        refusal name file and line."""
        with self._lock:
            before = self.store.snapshot().objects
            results = tuple(_applied(before.get(key_of(each)), each) for each in objects)
            self._reconcile([each.object for each in results if each.word != UNCHANGED], places=places)
            return results

    def replace(self, obj: KubeObject) -> KubeObject:
        """Store an object as it is (the REST `PUT`)."""
        with self._lock:
            self._reconcile([obj])
            return self.get(key_of(obj))

    def delete(self, keys: Iterable[Key], grace_period_s: int | None = None) -> None:
        """Pods get SIGTERM and their grace period and leave afterwards; everything else leaves at once."""
        with self._lock:
            wanted = [key_of(self.get(key)) for key in keys]
            self._reconcile(*lifecycle.delete(self.store.snapshot().objects, wanted, self._now(), grace_period_s))

    def scale(self, key: Key, replicas: int) -> KubeObject:
        with self._lock:
            obj = self.get(key)
            if not isinstance(obj, Deployment | ReplicaSet):
                raise InputError(f"cannot scale a {obj.KIND}", subject=f"{obj.KIND} {key[1]}/{key[2]}")
            if replicas < 0:
                raise InputError(f"replicas is {replicas}, must be 0 or more", subject=f"{obj.KIND} {key[1]}/{key[2]}")
            return self.replace(replace(obj, spec=replace(obj.spec, replicas=replicas)))  # type: ignore[arg-type]

    # -- reads ------------------------------------------------------------------------------------------------------

    def get(self, key: Key) -> KubeObject:
        found = self.store.snapshot().objects.get(key)
        if found is None:
            raise NotFound(f"{key[0].lower()}s", key[2], hint="emu get all -A")
        return found

    # -- the ten lines ----------------------------------------------------------------------------------------------

    def reconcile(self) -> Changes:
        """Snapshot, resolve, build, diff, apply. Twice in a row changes nothing."""
        with self._lock:
            return self._reconcile()

    def _reconcile(
        self,
        puts: Iterable[KubeObject] = (),
        deletes: Iterable[Key] = (),
        places: Mapping[Key, Place] | None = None,
    ) -> Changes:
        """What is stored has become true before: whoever reads that an endpoint is ready or gone finds rules, flows
        and names that say the same. Called with the lock held."""
        before, old = self.store.snapshot().objects, self.cluster
        wanted = objectmap.changed(before, puts, deletes)
        cluster = resolve.resolve(self.topology, wanted, self.registry, self._now(), previous=old, places=places)
        plan = planners.build(cluster)
        changes = diff.diff(self.plan, plan)
        self.host.kernel.apply(changes, plan)
        self.cluster, self.plan = cluster, plan
        if old:
            self.host.flush(staleflows.stale_flows(old.frontends, cluster.frontends), cluster.nodes)
        self.host.follow(changes, plan)
        self.store.write(*objectmap.differences(before, cluster.objects))
        self._stop_terminating()
        with self._settled:
            self._settled.notify_all()
        return changes

    def _stop_terminating(self) -> None:
        """Tell the kubelet of Pods that have to go."""
        for pod in self._pods():
            if lifecycle.is_terminating(pod) and pod.metadata.uid not in self._stopping:
                self._stopping.add(pod.metadata.uid)
                self.host.stop(pod.metadata, self._gone(pod))

    def _gone(self, pod: Pod) -> Callable[[], None]:
        """For the kubelet to call: many Pods that end together leave in one reconcile."""

        def done() -> None:
            self._ended.append(pod)
            self._wake.set()

        return done

    def _report(self, statuses: Mapping[tuple[str, str], PodStatus]) -> None:
        """From the kubelet, which is not made to wait for a reconcile."""
        self._reports.extend(((Pod.KIND, *key), status) for key, status in statuses.items())
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            try:
                self._fold()
            except EmuError:
                log.exception("reconcile failed")

    def _fold(self) -> None:
        """Fold in what the kubelet has told since the last time."""
        with self._lock:
            objects = self.store.snapshot().objects
            statuses = dict(_drained(self._reports))
            ended = _drained(self._ended)
            self._stopping -= {pod.metadata.uid for pod in ended}
            puts = [
                replace(pod, status=report.reported(pod.status, status))
                for key, status in statuses.items()
                if isinstance(pod := objects.get(key), Pod)
            ]
            self._reconcile(puts, [key_of(pod) for pod in ended])

    # -- looking ----------------------------------------------------------------------------------------------------

    def trace(
        self,
        source: str,
        target: str,
        command: Sequence[str] = (),
        proto: str = "",
        *,
        started: Callable[[Child], None] = lambda _: None,
    ) -> TraceResult:
        """Predict, send one request (or run `command` in the source), watch, compare. See `testbed.targets` for what
        source and target may be. `started` is told the command's process."""
        cluster, plan = self._current()
        flow = targets.flow(cluster, source, target, proto)
        return self._trace(plan, flow, self._running(flow, command, started) if command else None)

    def verify(self, progress: Progress = lambda *_: None, fd: int | None = None) -> tuple[TraceResult, ...]:
        """Trace every kind of path of the testbed; with `fd`, all of it goes there as one pcapng."""
        cluster, plan = self._current()
        flows = every_path(cluster, plan)
        recorder = Recorder(all_points(plan), opener(self.host.netns), fd=fd, lenient=True) if fd is not None else None
        results = []
        try:
            for number, flow in enumerate(flows):
                progress(flow.label, number, len(flows))
                results.append(self._trace(plan, flow))
        finally:
            if recorder:
                recorder.stop()
        progress("", len(flows), len(flows))
        return tuple(results)

    def _trace(self, plan: Plan, flow: Flow, send: tracing.Send | None = None) -> TraceResult:
        result = tracing.trace(plan, flow, self.host.netns, send)
        if result.ok:
            return result
        watched = {point.netns for point in tracing.watched(plan, result.prediction)}
        involved = [name for name in plan.netns if name in watched]
        with self._lock:
            return replace(result, drift=tuple(str(each) for each in self._check(involved)))

    def _running(self, flow: Flow, command: Sequence[str], started: Callable[[Child], None]) -> tracing.Send:
        def send(_: Flow) -> Reply:
            with open(os.memfd_create("output"), "w+b") as output, open(os.devnull) as null:
                fds = (null.fileno(), output.fileno(), output.fileno())
                code = self.exec(flow.netns, command, fds, started=started)
                output.seek(0)
                return Reply(0, output.read().decode(errors="replace"), ok=code == 0)

        return send

    def capture(
        self,
        selectors: Sequence[str],
        fd: int,
        until: threading.Event,
        armed: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> Mapping[str, int]:
        """Record at the chosen points to `fd` until told to end or its reader has gone. `armed` is told their names
        once no packet can be missed. Returns drops by point."""
        _, plan = self._current()
        recorder = Recorder(points(plan, selectors or ("all",)), opener(self.host.netns), fd=fd, lenient=True)
        try:
            armed([str(point) for point in recorder.points])
            while not until.wait(0.1) and not recorder.wait(0):
                pass
        finally:
            capture = recorder.stop()
        return {str(point): count for point, count in capture.drops.items()}

    def exec(
        self,
        target: str,
        argv: Sequence[str],
        fds: tuple[int, int, int],
        tty: bool = False,
        container: str = "",
        *,
        started: Callable[[Child], None] = lambda _: None,
    ) -> int:
        """Run a program in a Pod or on a Node and wait for it; its exit status, 127 when there is none of
        that name. With `tty` the descriptors are the slave end of a pseudo-terminal."""
        cluster, plan = self._current()
        name = target if target in plan.netns else targets.source(cluster, target)[0]
        try:
            child = self.host.exec(plan.netns[name], argv, fds, tty, container)
        except MissingTool:
            os.write(fds[2], f'exec: "{argv[0]}": executable file not found in $PATH\n'.encode())
            return 127
        started(child)
        return child.wait() or 0

    def prompt(
        self,
        fds: tuple[int, int, int],
        script: str | None = None,
        *,
        tty: bool = False,
        started: Callable[[Child], None] = lambda _: None,
    ) -> int:
        """The Mininet prompt over the lab, or the lines of `script`; its exit status."""
        _, plan = self._current()
        child = self.host.prompt(plan, fds, script, tty)
        started(child)
        return child.wait() or 0

    def logs(self, namespace: str, name: str, container: str = "", previous: bool = False) -> Path:
        """The file of a container's output."""
        pod = self.get((Pod.KIND, namespace, name))
        assert isinstance(pod, Pod)
        names = [each.name for each in (*pod.spec.containers, *pod.spec.init_containers)]
        if container and container not in names:
            raise InputError(f"container {container} is not valid for pod {name}", hint=f"it has: {', '.join(names)}")
        return self.host.kubelet.log_path(namespace, name, container or names[0], previous=previous)

    def _current(self) -> tuple[Cluster, Plan]:
        if self.cluster is None or self.plan is None:
            raise EmuError("the testbed is not up yet")
        return self.cluster, self.plan

    # -- waiting, checking, going -----------------------------------------------------------------------------------

    def wait_ready(self, timeout_s: float, progress: Progress = lambda *_: None) -> None:
        """Until every Pod is ready, has finished, or keeps failing. Raises with what was missing."""

        def settled() -> bool:
            pods = self._pods()
            progress("Pods", len(pods) - len(self.missing()), len(pods))
            return not self.missing()

        with self._settled:
            if not self._settled.wait_for(settled, timeout_s):
                raise EmuError(f"not ready after {timeout_s:g} s: {'; '.join(self.missing())}", hint="emu get pods -A")

    def missing(self) -> tuple[str, ...]:
        """The Pods that are not ready yet, in words. A Pod that keeps failing is not waited for."""
        return tuple(text for pod in self._pods() if (text := _unready(pod)))

    def _pods(self) -> list[Pod]:
        return [obj for obj in self.store.snapshot().objects.values() if isinstance(obj, Pod)]

    def check(self, repair: bool = False) -> tuple[Drift, ...]:
        """What differs between plan and kernel, in every netns; with `repair`, mended."""
        with self._lock:
            assert self.plan is not None
            return self._check(tuple(self.plan.netns), repair)

    def _check(self, names: Iterable[str], repair: bool = False) -> tuple[Drift, ...]:
        drifts = found = self._drifts(names)
        for _ in range(REPAIRS if repair else 0):
            if not found:
                break
            self.host.kernel.repair(found)
            found = self._drifts(names)
        return drifts

    def _drifts(self, names: Iterable[str]) -> tuple[Drift, ...]:
        assert self.plan is not None
        plans = [self.plan.netns[name] for name in names]
        return tuple(each for plan in plans for each in drift(plan, self.host.kernel.read(plan)))

    def down(self) -> None:
        self._closed = True
        self._wake.set()
        self.host.close()


def _applied(existing: KubeObject | None, wanted: KubeObject) -> Applied:
    new = update.updated(existing, wanted)
    return Applied(new, CREATED if existing is None else UNCHANGED if new is existing else CONFIGURED)


def _drained(queue: deque[T]) -> list[T]:
    """What is in it now; others may append meanwhile."""
    return [queue.popleft() for _ in range(len(queue))]


def _unready(pod: Pod) -> str:
    """Why a Pod is not ready, "" when it is or when waiting is of no use."""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if pod.metadata.deletion_timestamp or pod.status.phase in ("Succeeded", "Failed"):
        return ""
    if any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions):
        return ""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    waiting = [each.state.waiting for each in statuses if each.state.waiting]
    if any(each.reason == "CrashLoopBackOff" for each in waiting):
        return ""
    unscheduled = next((each for each in pod.status.conditions if each.reason == "Unschedulable"), None)
    if unscheduled:
        return ""
    why = "; ".join(f"{each.reason} {each.message}".strip() for each in waiting) or pod.status.phase
    return f"Pod {name} is not ready ({why})"
