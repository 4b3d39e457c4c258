"""The kubelet of every Node of a testbed: one thread keeps all Pods as their specs say, and reports their status.

A Pod whose containers are all served by the shared server costs its sockets and no thread, no process.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Thread

from emu.api.objects import PodStatus
from emu.errors import InputError
from emu.plan.model import PodSandbox
from emu.poller import Poller
from emu.workloads.logs import Logs
from emu.workloads.podworker import PodWorker, Surroundings
from emu.workloads.runtime import Runtime

log = logging.getLogger(__name__)

BURST = 32  # Pods to start before what has happened to the others is looked at

Key = tuple[str, str]  # namespace, name
Report = Callable[[Mapping[Key, PodStatus]], None]


class Kubelet:
    """`now` is Unix time in seconds. `report` is called from the kubelet's thread, with all Pods that a turn
    of its work has changed: many that start together are one report.

    `start`, `start_all`, `update`, `stop` and `log_path` may be called from any thread, and all but the last
    return at once.
    """

    def __init__(
        self,
        runtime: Runtime,
        report: Report,
        now: Callable[[], float] = time.time,
        *,
        log_directory: Path,
        poller: Poller | None = None,
        node_address: Callable[[str], str] = lambda node: "",
    ) -> None:
        self.poller = poller or Poller()
        self._report = report
        self._calls: deque[Callable[[], None]] = deque()
        self._workers: dict[Key, PodWorker] = {}
        self._changed: dict[Key, PodWorker] = {}
        self._logs = Logs(log_directory)
        self._around = Surroundings(runtime, self.poller, self._logs, now, self.post, self._note, node_address)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.poller.watch(self._wake, self._run_calls)
        self._thread: Thread | None = None

    def run(self) -> None:
        """Start the thread. Without it, somebody must call `turn`."""
        self._thread = Thread(target=self.poller.run, name="kubelet", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The thread ends; the Pods are left as they are."""
        self.post(self.poller.stop)
        if self._thread:
            self._thread.join()

    def start(self, netns: str, pod: PodSandbox) -> None:
        """Keep a Pod whose network is ready. Its status is reported from now on."""
        self.start_all({netns: pod})

    def start_all(self, pods: Mapping[str, PodSandbox]) -> None:
        """Many, by netns, and then one report of them all. Those with probes first: they are answered while the others
        start."""
        waiting = deque(sorted(pods.items(), key=lambda item: not _is_probed(item[1])))

        def start() -> None:
            for _ in range(min(BURST, len(waiting))):
                self._guarded(partial(self._start, *waiting.popleft()))
            if waiting:
                self.post(start)

        self.post(start)

    def update(self, netns: str, pod: PodSandbox) -> None:
        """A Pod that is already kept has another spec; one that is not is started."""
        self.post(lambda: self._update(netns, pod))

    def stop(self, pod: PodSandbox, done: Callable[[], None], grace_period_s: float | None = None) -> None:
        """End a Pod: SIGTERM, its grace period (or the one given), SIGKILL; then its logs are removed, it is
        forgotten and `done` is called. A Pod that is not kept is done at once."""
        grace = pod.grace_period_s if grace_period_s is None else grace_period_s
        self.post(lambda: self._stop(pod, grace, done))

    def log_path(self, namespace: str, name: str, container: str = "", *, previous: bool = False) -> Path:
        """The file with a container's output; "" is the first container. Raises InputError."""
        worker = self._workers.get((namespace, name))
        if worker is None:
            raise InputError(f'pods "{name}" not found')
        processes = worker.pod.processes
        first = next((process.container.name for process in processes if not process.init), "")
        run = worker.container(container or first)
        if run is None:
            raise InputError(f"container {container} is not valid for pod {name}")
        return self._logs.find(worker.pod, run.name, run.restarts, previous=previous)

    def post(self, call: Callable[[], None]) -> None:
        """Have a call made on the kubelet's thread."""
        self._calls.append(call)
        os.eventfd_write(self._wake, 1)

    def turn(self, wait_s: float | None = 0.0) -> None:
        """One round of the kubelet's work, for a caller without the thread."""
        self.poller.turn(wait_s)

    def _run_calls(self, _events: int) -> None:
        """What is posted meanwhile is for the next turn, and told then."""
        os.eventfd_read(self._wake)
        for _ in range(len(self._calls)):
            self._guarded(self._calls.popleft())
        self._tell()

    def _guarded(self, call: Callable[[], None]) -> None:
        """One Pod's trouble must not end the thread that keeps all of them."""
        try:
            call()
        except Exception:
            log.exception("kubelet: a Pod could not be served")

    def _start(self, netns: str, pod: PodSandbox) -> None:
        worker = self._workers[pod.namespace, pod.name] = PodWorker(self._around, netns, pod)
        self._note(worker)
        worker.sync()

    def _update(self, netns: str, pod: PodSandbox) -> None:
        worker = self._workers.get((pod.namespace, pod.name))
        if worker is None:
            self._start(netns, pod)
        else:
            worker.update(pod)

    def _stop(self, pod: PodSandbox, grace_s: float, done: Callable[[], None]) -> None:
        key = (pod.namespace, pod.name)
        worker = self._workers.get(key)
        if worker is None:
            done()
            return

        def gone() -> None:
            self._tell()
            if self._workers.get(key) is worker:
                del self._workers[key]
            self._logs.remove(pod)
            done()

        worker.stop(grace_s, gone)

    def _note(self, worker: PodWorker) -> None:
        """Told at the end of the turn, so that several changes are one report."""
        if not self._changed:
            self.poller.after(0, self._tell)
        self._changed[worker.pod.namespace, worker.pod.name] = worker

    def _tell(self) -> None:
        if self._calls:
            return
        changed, self._changed = self._changed, {}
        told: dict[Key, PodStatus] = {}
        for key, worker in changed.items():
            status = worker.status()
            if status != worker.reported:
                told[key] = worker.reported = status
        if told:
            self._guarded(partial(self._report, told))


def _is_probed(pod: PodSandbox) -> bool:
    return any(process.container.readiness_probe or process.container.startup_probe for process in pod.processes)
