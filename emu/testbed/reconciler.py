"""A running testbed kept as its objects say: every write goes through `_reconcile`, and the kernel follows."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from emu import names, planners
from emu.api import images
from emu.api.objects import Deployment, Key, KubeObject, Node, Objects, Pod, PodStatus, ReplicaSet, key_of
from emu.api.topology import Topology
from emu.cluster import lifecycle, objectmap, readiness, report, resolve, staleflows, update
from emu.cluster.model import Cluster
from emu.cluster.nodes import families
from emu.cluster.passes.addresses import without
from emu.errors import EmuError, InputError, NotFound, Place
from emu.kernel import programs
from emu.kernel.plugins import Outcome
from emu.plan import diff, foreign
from emu.plan.model import Changes, Plan
from emu.store import Store
from emu.testbed.convergence import Convergence
from emu.testbed.host import Host

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_S = 1.0
CREATED, CONFIGURED, UNCHANGED = "created", "configured", "unchanged"

MOST = 10  # things missing that an error names
PAUSE_S = 0.02  # between two looks at what daemons bring

Progress = Callable[[str, int, int], None]
Follower = Callable[[Changes, Plan], None]
"""Told what the kernel has been changed by, before a program in a new Pod is started."""


def utc_now() -> str:
    """RFC 3339, whole seconds, as Kubernetes writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did to one object: `created`, `configured` or `unchanged`."""

    object: KubeObject
    word: str


class Reconciler:
    """One running lab. Every write goes through `_write`, and then `reconcile` brings the kernel after it.

    `host` has the effects; nothing here calls the kernel otherwise. Thread safe: one lock holds a reconcile together,
    and what the kubelet reports is folded in by a thread of its own."""

    def __init__(self, topology: Topology, host: Host, now: Callable[[], str] = utc_now) -> None:
        self.topology = topology
        self.host = host
        self.store = Store(topology.seed, now=now)
        self.registry = images.load_registry(topology.images)
        self.cluster: Cluster | None = None
        self.applied: Plan | None = None
        self.plan: Plan | None = None  # the same, with what CNI plugins have made: for all who look
        self._now = now
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._settled = threading.Condition()
        self._closed = False
        self._stopping: set[str] = set()  # uids of Pods the kubelet was told to stop
        self._ended: deque[Pod] = deque()  # and that it has stopped
        self._reports: deque[tuple[Key, PodStatus]] = deque()
        self._changed_daemons: deque[str] = deque()  # Nodes
        self._followers: list[Follower] = []  # called with the lock held
        self._unused: frozenset[staleflows.Name] = frozenset()  # Services that no flow can have got through to
        self._convergence = Convergence(host.kernel.absent)
        host.reports(self._report)
        host.kernel.daemons.on_change = self._daemons_changed
        host.kernel.plugins.on_change = self._wake.set
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
        self._describe_nodes()
        self._loop.start()
        self.wait_ready(60, progress)
        timeout_s = self._convergence.within_s(self.plan) if self.plan else 0
        if missing := self.converge(progress):
            raise EmuError(f"not ready after {timeout_s:g} s: {'; '.join(missing[:MOST])}", hint="emu check")

    def _describe_nodes(self) -> None:
        """Straight into the store, for nothing follows from it."""
        with self._lock:
            found = [obj for obj in self.store.snapshot().objects.values() if isinstance(obj, Node)]
            self.store.write(lifecycle.with_system(node, self.host.system) for node in found)

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
        cluster = self._resolved(before, [self._with_uid(each, before) for each in puts], tuple(deletes), places)
        found = self.host.kernel.plugins.found
        plan = planners.build(replace(cluster, ipip_module=programs.has_module()), found)
        changes = diff.diff(self.applied, plan)
        self.host.kernel.apply(changes, plan)
        self.cluster, self.applied, self.plan = cluster, plan, foreign.foreseen(plan)
        self._convergence.forget(change.name for change in changes.netns if change.daemons)
        if old:
            stale = staleflows.stale_flows(old.frontends, cluster.frontends, self._unused)
            self.host.flush(stale, cluster.nodes)
        refusing = staleflows.refusing(cluster.frontends)
        self._unused = self._unused & refusing if old else refusing
        for follower in self._followers:
            follower(changes, plan)
        self.host.follow(changes, plan)
        self.store.write(*objectmap.differences(before, cluster.objects))
        self._stop_terminating()
        with self._settled:
            self._settled.notify_all()
        return changes

    def _resolved(
        self,
        before: Objects,
        puts: Sequence[KubeObject],
        deletes: Sequence[Key],
        places: Mapping[Key, Place] | None,
    ) -> Cluster:
        """What is deleted and made again at once, by what the cluster has by itself or by a controller, is another
        object of the same name: whoever waits for the end of the one must not take the other for it."""
        wanted = objectmap.changed(before, puts, deletes)
        now = self._now()
        cluster = resolve.resolve(self.topology, wanted, self.registry, now, previous=self.cluster, places=places)
        found = ((key, cluster.objects.get(key)) for key in deletes if key in before)
        back = {key: new for key, new in found if new}
        if not back:
            return cluster
        renewed = (
            replace(new, metadata=replace(new.metadata, uid=self.store.uid(key), creation_timestamp=now))
            for key, new in back.items()
        )
        return self._resolved(before, (*puts, *renewed), [key for key in deletes if key not in back], places)

    def _with_uid(self, obj: KubeObject, before: Objects) -> KubeObject:
        if obj.metadata.uid or key_of(obj) in before:
            return obj
        return replace(obj, metadata=replace(obj.metadata, uid=self.store.uid(key_of(obj))))

    def _stop_terminating(self) -> None:
        """Tell the kubelet of Pods that have to go."""
        for pod in self.pods():
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
        """The thread must outlive whatever goes wrong: what it could not fold in waits for the next time."""
        rest_s: float | None = None
        while not self._closed:
            self._wake.wait(rest_s)
            self._wake.clear()
            try:
                self.fold()
                rest_s = self.host.kernel.plugins.due_s()
            except Exception:
                rest_s = RETRY_S
                log.exception("reconcile failed, tried again in %g s", RETRY_S)

    def fold(self) -> None:
        """Fold in what the kubelet and the daemons have told since the last time. It is forgotten once it is folded
        in; others may append meanwhile."""
        with self._lock:
            reports, ended, nodes = tuple(self._reports), tuple(self._ended), tuple(self._changed_daemons)
            # With the lock, though programs run: a Pod's namespace must not go from under them, and what comes on its
            # Node meanwhile is taken for their doing. One that hangs delays every write, until its time is over.
            self.host.kernel.retry()
            outcomes = self.host.kernel.plugins.outcomes
            joined = tuple(outcomes)
            objects = self.store.snapshot().objects
            told = [
                replace(pod, status=report.reported(pod.status, status))
                for key, status in dict(reports).items()
                if isinstance(pod := objects.get(key), Pod)
            ]
            puts = (*told, *self._joined(objects, joined), *self._nodes_told(nodes))
            self._reconcile(puts, [key_of(pod) for pod in ended])
            self._stopping -= {pod.metadata.uid for pod in ended}
            _forget(self._reports, reports)
            _forget(self._ended, ended)
            _forget(self._changed_daemons, nodes)
            _forget(outcomes, joined)

    def _joined(self, objects: Objects, outcomes: Iterable[Outcome]) -> Iterator[Pod]:
        """Pods that plugins have given their addresses, or failed to. One that was made anew meanwhile is another."""
        for outcome in {each.pod: each for each in outcomes}.values():
            namespace, _, name = outcome.pod.partition("/")
            pod = objects.get((Pod.KIND, namespace, name))
            if not isinstance(pod, Pod) or names.container_id(pod.metadata.uid) != outcome.container_id:
                continue
            if outcome.error:
                yield without(pod, outcome.error, self._now())
            else:
                yield report.joined(pod, outcome.addresses, families(self.topology), self._now())

    def _daemons_changed(self, node: str) -> None:
        self._changed_daemons.append(node)
        self._wake.set()

    def _nodes_told(self, names: Iterable[str]) -> list[KubeObject]:
        """The Nodes on which a daemon was started or has ended, with the condition that says so."""
        objects = self.store.snapshot().objects
        found = (objects.get((Node.KIND, "", name)) for name in dict.fromkeys(names))
        return [
            lifecycle.with_network(node, self.host.kernel.daemons.stopped(node.metadata.name), self._now())
            for node in found
            if isinstance(node, Node)
        ]

    # -- waiting, going ---------------------------------------------------------------------------------------------

    def wait_ready(self, timeout_s: float, progress: Progress = lambda *_: None) -> None:
        """Until every Pod is ready, has finished, or keeps failing. Raises with what was missing."""

        def settled() -> bool:
            pods = self.pods()
            progress("Pods", len(pods) - len(self.missing()), len(pods))
            return not self.missing()

        with self._settled:
            if not self._settled.wait_for(settled, timeout_s):
                raise EmuError(f"not ready after {timeout_s:g} s: {'; '.join(self.missing())}", hint="emu get pods -A")

    def converge(self, progress: Progress = lambda *_: None) -> tuple[str, ...]:
        """Wait for what the daemons bring since the plan has changed; returns what did not come in time."""
        with self._lock:
            deadline = time.monotonic() + (self._convergence.within_s(self.plan) if self.plan else 0)
        while True:
            with self._lock:
                missing = self._convergence.look(self.plan) if self.plan else ()
                if missing and time.monotonic() > deadline:
                    return self._convergence.give_up(self.plan) if self.plan else ()
            if not missing:
                return ()
            progress(f"{missing[0]}, and {len(missing) - 1} more", 0, 0)
            time.sleep(PAUSE_S)

    def missing(self) -> tuple[str, ...]:
        """The Pods that are not ready yet, in words. A Pod that keeps failing is not waited for."""
        return tuple(text for pod in self.pods() if (text := readiness.unready(pod)))

    def pods(self) -> list[Pod]:
        return [obj for obj in self.store.snapshot().objects.values() if isinstance(obj, Pod)]

    def down(self) -> None:
        self._closed = True
        self._wake.set()
        self.host.close()


def _forget(queue: deque[T], taken: Sequence[T]) -> None:
    """The first of a queue that others append to."""
    for _ in taken:
        queue.popleft()


def _applied(existing: KubeObject | None, wanted: KubeObject) -> Applied:
    new = update.updated(existing, wanted)
    return Applied(new, CREATED if existing is None else UNCHANGED if new is existing else CONFIGURED)
