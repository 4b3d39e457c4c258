"""One Pod kept as its spec says: init containers in order, restarts with back-off, probes, and an orderly end.
Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_manager.go (SyncPod, computePodActions, killContainer)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from emu.api.objects import PodIP, PodStatus
from emu.plan.model import PodSandbox
from emu.poller import Poller, Timer
from emu.workloads import podstatus
from emu.workloads.backoff import duration
from emu.workloads.container import CANNOT_START, CannotStart, ContainerRun, Refused, launch
from emu.workloads.logs import Logs
from emu.workloads.probes import LIVENESS, READINESS, STARTUP, Probes, attempt
from emu.workloads.runtime import Runtime

Post = Callable[[Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all Pods of a kubelet share. `post` runs a call on the poller's thread; `changed` says that a status may
    have changed; `node_address` is a Node's own address."""

    runtime: Runtime
    poller: Poller
    logs: Logs
    now: Callable[[], float]
    post: Post
    changed: Callable[[PodWorker], None]
    node_address: Callable[[str], str]


class PodWorker:
    """All of it runs on the poller's thread."""

    def __init__(self, around: Surroundings, netns: str, pod: PodSandbox) -> None:
        self._around, self._netns, self.pod = around, netns, pod
        waiting = "PodInitializing" if any(process.init for process in pod.processes) else "ContainerCreating"
        runs = [ContainerRun(process, waiting) for process in pod.processes]
        self._init = [run for run in runs if run.process.init]
        self._main = [run for run in runs if not run.process.init]
        self._probes: dict[str, Probes] = {}
        self._start_time = podstatus.stamp(around.now())
        self._done: list[Callable[[], None]] = []
        self._stopping = False
        self._grace: Timer | None = None
        self.reported = PodStatus()

    def sync(self) -> None:
        """Start what should run and does not."""
        if self._stopping:
            return
        for run in self._init:
            if not run.completed:
                self._ensure(run, again=self.pod.restart_policy != "Never")
                return
        for run in self._main:
            policy, failed = self.pod.restart_policy, not run.completed
            self._ensure(run, again=policy == "Always" or (policy == "OnFailure" and failed))

    def container(self, name: str) -> ContainerRun | None:
        return next((run for run in (*self._init, *self._main) if run.name == name), None)

    def update(self, pod: PodSandbox) -> None:
        """A changed container is ended and starts anew; what else changed holds from the next start on."""
        self.pod = pod
        for process in pod.processes:
            run = self.container(process.container.name)
            if run is None:
                continue
            replaced = (run.process.container, run.process.program) != (process.container, process.program)
            run.process = process
            if replaced and run.running:
                self._kill(run)
        self.sync()

    def stop(self, grace_s: float, done: Callable[[], None]) -> None:
        """SIGTERM to every container, SIGKILL after the grace period; `done` when none is left. A second call may
        shorten the wait."""
        self._stopping = True
        self._done.append(done)
        for run in (*self._init, *self._main):
            self._cancel(run)
            self._end_probes(run)
            self._signal(run, signal.SIGTERM if grace_s > 0 else signal.SIGKILL)
        if self._grace:
            self._grace.cancel()
        self._grace = self._around.poller.after(grace_s, self._kill_all) if grace_s > 0 else None
        self._end_if_gone()

    def status(self) -> PodStatus:
        init, main = (tuple(run.status() for run in runs) for runs in (self._init, self._main))
        phase = podstatus.phase(self.pod.restart_policy, init, main)
        return PodStatus(
            phase=phase,
            conditions=podstatus.conditions(phase, init, main, self.reported.conditions, now=self._around.now()),
            host_ip=self._around.node_address(self.pod.node),
            pod_ip=str(self.pod.addresses[0]) if self.pod.addresses else "",
            pod_ips=tuple(PodIP(ip=str(address)) for address in self.pod.addresses),
            start_time=self._start_time,
            init_container_statuses=init,
            container_statuses=main,
        )

    def _ensure(self, run: ContainerRun, *, again: bool) -> None:
        if run.running or run.timer:
            return
        if not run.run:
            self._start(run)
        elif again:
            self._restart_later(run)

    def _restart_later(self, run: ContainerRun) -> None:
        """The first restart comes at once, and shows how the container ended; later ones show the back-off."""
        delay = run.backoff.delay(self._around.now())
        if run.backoff.window_s:
            pod, wait = self.pod, duration(run.backoff.window_s)
            whose = f"container={run.name} pod={pod.name}_{pod.namespace}({pod.uid})"
            run.set_waiting("CrashLoopBackOff", f"back-off {wait} restarting failed {whose}")
        run.timer = self._around.poller.after(delay, lambda: self._restart(run))

    def _restart(self, run: ContainerRun) -> None:
        run.timer = None
        run.backoff.restarted(self._around.now())
        self._start(run)

    def _start(self, run: ContainerRun) -> None:
        run.set_running(self._around.now())
        number = run.run
        log_fd = self._around.logs.open(self.pod, run.name, run.restarts)
        try:
            run.handle = launch(
                self._around.runtime,
                self._netns,
                self.pod,
                run.process,
                log_fd=log_fd,
                on_exit=lambda code: self._around.post(lambda: self._exited(run, number, code)),
            )
        except CannotStart as error:
            self._ended(run, CANNOT_START, "StartError", str(error))
        except Refused as error:
            self._ended(run, error.code)
        else:
            self._begin_probes(run)
            self._around.changed(self)
        finally:
            os.close(log_fd)

    def _exited(self, run: ContainerRun, number: int, code: int) -> None:
        if run.run == number and run.running:
            self._ended(run, code)

    def _ended(self, run: ContainerRun, code: int, reason: str = "", message: str = "") -> None:
        self._cancel(run)
        self._end_probes(run)
        run.set_terminated(code, self._around.now(), reason, message)
        self._around.changed(self)
        self.sync()
        self._end_if_gone()

    def _begin_probes(self, run: ContainerRun) -> None:
        if run.process.init:
            return
        around = self._around
        attempts = attempt(around, self._netns, self.pod, run.process)
        number = run.run
        self._probes[run.name] = Probes(
            around.poller, attempts, run.process, lambda kind, ok: self._probed(run, number, kind, ok)
        )

    def _end_probes(self, run: ContainerRun) -> None:
        if probes := self._probes.pop(run.name, None):
            probes.stop()

    def _probed(self, run: ContainerRun, number: int, kind: str, ok: bool) -> None:
        if run.run != number or not run.running:
            return
        if kind == READINESS:
            run.ready = ok
        elif kind == STARTUP and ok:
            run.started = True
            run.ready = run.process.container.readiness_probe is None
        elif kind in (STARTUP, LIVENESS) and not ok:
            self._kill(run)
        self._around.changed(self)

    def _kill(self, run: ContainerRun) -> None:
        """End a container that is to start anew: SIGTERM, and SIGKILL when the grace period is over."""
        self._end_probes(run)
        number = run.run
        self._signal(run, signal.SIGTERM if self.pod.grace_period_s else signal.SIGKILL)

        def finish() -> None:
            run.timer = None
            if run.run == number:
                self._signal(run, signal.SIGKILL)

        if run.running:
            self._cancel(run)
            run.timer = self._around.poller.after(self.pod.grace_period_s, finish)

    def _kill_all(self) -> None:
        for run in (*self._init, *self._main):
            self._signal(run, signal.SIGKILL)

    def _signal(self, run: ContainerRun, signum: int) -> None:
        if run.running and run.handle is not None:
            self._around.runtime.kill(run.handle, signum)

    def _cancel(self, run: ContainerRun) -> None:
        if run.timer:
            run.timer.cancel()
            run.timer = None

    def _end_if_gone(self) -> None:
        if self._stopping and self._done and not any(run.running for run in (*self._init, *self._main)):
            if self._grace:
                self._grace.cancel()
            calls, self._done = self._done, []
            for done in calls:
                done()
