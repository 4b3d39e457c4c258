"""The façade: everything a front end can ask of a running testbed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emu.api.objects import Pod
from emu.capture.points import all_points, new_points, points
from emu.capture.recorder import Recorder, opener
from emu.cluster.model import Cluster
from emu.errors import EmuError, InputError, MissingTool, NoSuchProgram, NotFound
from emu.kernel.process import Child
from emu.plan.drift import Drift, drift
from emu.plan.ebpf import MapEntry
from emu.plan.model import Changes, Plan
from emu.testbed import targets, tracing
from emu.testbed.reconciler import Progress, Reconciler
from emu.testbed.request import Reply
from emu.trace.flows import every_path
from emu.trace.model import Flow, TraceResult

log = logging.getLogger(__name__)

REPAIRS = 3  # mending can take other things along: with an address that is too many go the routes by it


class Testbed(Reconciler):
    """One running lab: what changes it is the Reconciler's, what looks at it or runs in it is here."""

    def trace(
        self,
        source: str,
        target: str,
        command: Sequence[str] = (),
        proto: str = "",
        *,
        size: int | None = None,
        df: bool = False,
        family: int = 0,
        started: Callable[[Child], None] = lambda _: None,
    ) -> TraceResult:
        """Predict, send one request (or run `command` in the source), watch, compare. See `testbed.targets` for what
        source and target may be. `started` is told the command's process."""
        self.converge()
        cluster, plan = self._current()
        flow = targets.flow(cluster, source, target, proto, size=size, df=df, family=family)
        result = self._trace(plan, flow, self._running(flow, command, started) if command else None)
        return replace(result, warnings=(*result.warnings, *targets.remarks(cluster, result)))

    def verify(self, progress: Progress = lambda *_: None, fd: int | None = None) -> tuple[TraceResult, ...]:
        """Trace every kind of path of the testbed; with `fd`, all of it goes there as one pcapng."""
        self.converge()
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
        result = tracing.trace(plan, flow, self.host.netns, send, self.host.kernel.decisions)
        if result.ok:
            return result
        watched = {point.netns for point in tracing.watched(plan, result.prediction)}
        with self._lock:  # the plan may be another by now
            involved = [name for name in self._current()[1].netns if name in watched]
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
        """Record at the chosen points to `fd` until told to end or its reader has gone; what the selectors choose of
        what comes meanwhile is recorded from its first packet on. `armed` is told the first points' names once no
        packet can be missed. Returns drops by point."""
        chosen, sockets = selectors or ("all",), opener(self.host.netns)

        def follow(changes: Changes, plan: Plan) -> None:
            try:
                recorder.join(new_points(plan, changes, chosen), sockets)
            except EmuError as error:  # the cluster goes on without being looked at
                log.warning("%s", error)

        with self._lock:
            _, plan = self._current()
            recorder = Recorder(points(plan, chosen), sockets, fd=fd, lenient=True)
            self._followers.append(follow)
        try:
            armed([str(point) for point in recorder.points])
            while not until.wait(0.1) and not recorder.wait(0):
                pass
        finally:
            with self._lock:
                self._followers.remove(follow)
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
        name = target if target in plan.netns else targets.place(cluster, target)
        try:
            child = self.host.exec(plan.netns[name], argv, fds, tty, container)
        except (NoSuchProgram, MissingTool):
            os.write(fds[2], f"{NoSuchProgram(argv[0])}\n".encode())
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

    def entries(self, names: Sequence[str], node: str = "") -> Mapping[str, Sequence[MapEntry]]:
        """What is in eBPF maps of a Node, or of every Node that has some, by Node."""
        with self._lock:
            cluster, _ = self._current()
            known = [each.name for each in cluster.nodes]
            if node and node not in known:
                raise NotFound("nodes", node, hint=f"there are {', '.join(known)}")
            found = {name: self.host.kernel.entries(name, names) for name in ([node] if node else known)}
        if not any(found.values()):
            raise InputError(f"cni {cluster.topology.cni.mode} has no such eBPF maps", hint="cni: cilium has")
        return found

    def check(self, repair: bool = False) -> tuple[Drift, ...]:
        """What differs between plan and kernel, in every netns; with `repair`, mended."""
        with self._lock:
            assert self.applied is not None
            return self._check(tuple(self.applied.netns), repair)

    def _check(self, names: Iterable[str], repair: bool = False) -> tuple[Drift, ...]:
        drifts = found = self._drifts(names)
        for _ in range(REPAIRS if repair else 0):
            if not found:
                break
            self.host.kernel.repair(found)
            self._await_daemons(found)
            found = self._drifts(names)
        return drifts

    def _await_daemons(self, found: Iterable[Drift]) -> None:
        """What daemons bring comes some time after they have been mended."""
        assert self.applied is not None
        bring = {each.netns for each in found} & {name for name, netns in self.applied.netns.items() if netns.expected}
        if bring:
            self._convergence.forget(bring)
            self.converge()

    def _drifts(self, names: Iterable[str]) -> tuple[Drift, ...]:
        assert self.applied is not None
        plans = [self.applied.netns[name] for name in names]
        return tuple(each for plan in plans for each in drift(plan, self.host.kernel.read(plan)))
