"""Probes of a running container: attempts in their period, and the thresholds that turn results into a verdict.
Source: kubernetes pkg/kubelet/prober/worker.go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from emu.api.objects import Probe
from emu.plan.model import PodSandbox, Process
from emu.poller import Poller, Timer
from emu.workloads.attempts import Dial, Execution, Result, family_of, http_request, port_number
from emu.workloads.runtime import Runtime

STARTUP, READINESS, LIVENESS = "startup", "readiness", "liveness"
Verdict = Callable[[str, bool], None]
Attempt = Callable[[Probe, Result], object]


class Probes:
    """The probes of one run of a container. `verdict` is called with a kind and whether it holds, whenever that is
    decided anew. Readiness and liveness wait for the startup probe."""

    def __init__(self, poller: Poller, attempt: Attempt, process: Process, verdict: Verdict) -> None:
        self._poller, self._attempt, self._verdict = poller, attempt, verdict
        self._waiting: list[_Worker] = []
        self._workers = list(self._made(process))
        for worker in self._workers:
            if worker.kind == STARTUP or not self._has(STARTUP):
                worker.begin()
            else:
                self._waiting.append(worker)

    def _made(self, process: Process) -> Iterator[_Worker]:
        container = process.container
        found = {
            STARTUP: container.startup_probe,
            READINESS: container.readiness_probe,
            LIVENESS: container.liveness_probe,
        }
        for kind, probe in found.items():
            if probe:
                yield _Worker(self._poller, self._attempt, kind, probe, self._decided)

    def _has(self, kind: str) -> bool:
        return any(worker.kind == kind for worker in self._workers)

    def _decided(self, kind: str, ok: bool) -> None:
        self._verdict(kind, ok)
        if kind == STARTUP and ok:
            for worker in self._workers:
                if worker.kind == STARTUP:
                    worker.stop()
            for worker in self._waiting:
                worker.begin()
            self._waiting = []

    def stop(self) -> None:
        self._waiting = []
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One probe. Kubernetes starts readiness and startup as failed, liveness as good."""

    def __init__(
        self,
        poller: Poller,
        attempt: Attempt,
        kind: str,
        probe: Probe,
        verdict: Verdict,
    ) -> None:
        self._poller, self._attempt, self.kind, self._probe, self._verdict = poller, attempt, kind, probe, verdict
        self._holds = kind == LIVENESS
        self._last, self._count = False, 0
        self._busy: object = None
        self._timer: Timer | None = None
        self._stopped = False

    def begin(self) -> None:
        self._timer = self._poller.after(self._probe.initial_delay_seconds, self._tick)

    def stop(self) -> None:
        self._stopped = True
        if self._timer:
            self._timer.cancel()
        if isinstance(self._busy, Dial | Execution):
            self._busy.cancel()

    def _tick(self) -> None:
        self._timer = self._poller.after(self._probe.period_seconds, self._tick)
        if self._busy is None:
            self._busy = True
            attempt = self._attempt(self._probe, self._result)
            if self._busy is True:  # not answered already
                self._busy = attempt

    def _result(self, ok: bool) -> None:
        self._busy = None
        if self._stopped:
            return
        self._count = self._count + 1 if ok == self._last else 1
        self._last = ok
        needed = self._probe.success_threshold if ok else self._probe.failure_threshold
        if self._count >= needed and (ok != self._holds or (self._count == needed and not ok)):
            self._holds = ok
            self._verdict(self.kind, ok)


class Around(Protocol):
    """What attempts need of a kubelet."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def poller(self) -> Poller: ...

    @property
    def post(self) -> Callable[[Callable[[], None]], None]: ...


def attempt(around: Around, netns: str, pod: PodSandbox, process: Process) -> Attempt:
    """What makes the attempts of one container's probes."""

    def make(probe: Probe, result: Result) -> object:
        if probe.exec:
            run = Execution(around.poller, around.runtime, result)
            run.of(netns, pod, process, probe, post=around.post)
            return run
        action = probe.http_get or probe.tcp_socket
        if action is None:
            raise ValueError("a probe without an action")
        host = action.host or str(pod.addresses[0])
        port = port_number(action.port, process.container.ports)
        request = http_request(probe.http_get, host, port) if probe.http_get else b""
        try:
            sock = around.runtime.connect_socket(pod.node, family_of(host))
        except OSError:
            result(False)
            return None
        tls = probe.http_get is not None and probe.http_get.scheme == "HTTPS"
        dial = Dial(around.poller, sock, request, result, tls=tls)
        dial.to(host, port, probe.timeout_seconds)
        return dial

    return make
