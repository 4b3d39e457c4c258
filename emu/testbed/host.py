"""The effects of one lab, put together: kernel, Pods' namespaces, server processes, kubelet."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from emu.api.objects import ObjectMeta, PodStatus
from emu.cluster.model import Node
from emu.cluster.staleflows import StaleFlow
from emu.dnsserver import server as dnsserver
from emu.dnsserver.service import DnsService
from emu.errors import InputError
from emu.kernel import inventory, netns, nodefiles, process
from emu.kernel.apply import Kernel
from emu.kernel.limits import Limit
from emu.kernel.netns import Netns
from emu.kernel.nursery import Nursery
from emu.kernel.pods import PodNamespaces
from emu.kernel.process import Child
from emu.names import pod_netns
from emu.plan.model import Changes, NetnsPlan, Plan, PodSandbox, Sysctl
from emu.testbed.runtime import KernelRuntime
from emu.testbed.system import system
from emu.workloads import server as workloads
from emu.workloads.kubelet import Kubelet, Report
from emu.workloads.service import WorkloadService

log = logging.getLogger(__name__)


class Host:
    """Make it inside the sandbox, before the process has any thread: the server processes and the Pods' zygote are
    forked here. `expected`: how many Pods there will be at first, and what sysctls all have, as far as is known."""

    def __init__(
        self,
        lab: str,
        logs: Path,
        granted: Sequence[Limit] | None = None,
        expected: tuple[int, Sequence[Sysctl]] = (0, ()),
    ) -> None:
        nursery = Nursery(*expected)
        dns = process.ServiceStarter("dns", dnsserver.main)
        shared = process.ServiceStarter("workloads", workloads.main)
        self.pods = PodNamespaces()
        process.Reaper()
        self.kernel = Kernel(lab, self.pods, granted, nursery)
        self.dns = DnsService(dns.start)
        self.workloads = WorkloadService(shared.start)
        self.runtime = KernelRuntime(self.kernel, self.pods, self.dns, self.workloads)
        self.kubelet = Kubelet(self.runtime, self._report, log_directory=logs)
        self.kubelet.run()
        self.system = system()
        self._report_to: Report = lambda _: None
        self._known: dict[str, PodSandbox] = {}  # netns → what the kubelet was told to run

    def reports(self, receiver: Report) -> None:
        self._report_to = receiver

    def _report(self, statuses: Mapping[tuple[str, str], PodStatus]) -> None:
        self._report_to(statuses)

    def netns(self, name: str) -> Netns:
        return self.kernel.netns(name)

    def open_socket(self, name: str) -> Callable[[int, int, int], socket.socket]:
        return lambda family, kind, proto: netns.socket_in(self.kernel.netns(name), family, kind, proto)

    def follow(self, changes: Changes, plan: Plan) -> None:
        """After the kernel: the zone, and the Pods that have come or gone."""
        if changes.zone is not None:
            self.dns.zone(changes.zone)
        starting: dict[str, PodSandbox] = {}
        for change in changes.netns:
            wanted = change.new.pod if change.new else None
            if wanted is not None and change.name not in self._known:
                starting[change.name] = wanted
            elif wanted is None:
                self.runtime.silence(change.name, self._known.pop(change.name, None))
            elif change.pod_changed:
                self._known[change.name] = wanted
                self.kubelet.update(change.name, wanted)
        self._start(starting)

    def _start(self, pods: Mapping[str, PodSandbox]) -> None:
        self._known |= pods
        self.runtime.with_v6 |= {name for name, pod in pods.items() if any(ip.version == 6 for ip in pod.addresses)}
        for name, pod in pods.items():
            if pod.resolver:
                self.runtime.resolve(name, pod)
        self.kubelet.start_all(pods)

    def stop(self, pod: ObjectMeta, done: Callable[[], None]) -> None:
        """End a Pod's containers, then its namespaces; `done` from another thread. Its netns goes with the plan."""
        known = self._known.get(pod_netns(pod.namespace, pod.name))

        def stopped() -> None:
            if handle := self.pods.find(pod.namespace, pod.name):
                self.pods.destroy(handle)
            done()

        if known:
            self.kubelet.stop(known, stopped, pod.deletion_grace_period_seconds)
        else:
            threading.Thread(target=stopped, daemon=True).start()

    def exec(
        self, plan: NetnsPlan, argv: Sequence[str], fds: tuple[int, int, int], tty: bool, container: str = ""
    ) -> Child:
        """A program in a Pod, with the environment of its container (the first, if none is named), or on a Node."""
        stdin, stdout, stderr = fds
        where = self.kernel.netns(plan.name)
        if plan.pod is None:
            inside = partial(nodefiles.show, plan.files)
            if node := self.kernel.daemons.handle(plan.name):
                start = partial(self.pods.spawn, node, argv, process.ENVIRONMENT)
            else:
                start = partial(process.spawn, argv, namespaces=where)
            return start(stdin=stdin, stdout=stdout, stderr=stderr, tty=tty, inside=inside)
        running = [each for each in plan.pod.processes if not each.init and container in ("", each.container.name)]
        if not running:
            raise InputError(f"container not found ({container})", subject=f"Pod {plan.owner}")
        env = {"TERM": "xterm", **running[0].env} if tty else running[0].env
        handle = self.pods.ensure(where, plan.pod)
        return self.pods.spawn(handle, argv, env, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)

    def prompt(self, plan: Plan, fds: tuple[int, int, int], script: str | None, tty: bool) -> Child:
        """The Mininet prompt, in a process of its own. Every Pod gets its namespaces: who is at the prompt wants to
        see a Pod's own files and processes."""

        def pid(namespace: str, name: str) -> int:
            if not namespace:
                handle = self.kernel.daemons.handle(name)
                return handle.pid if handle else 0
            netns = plan.netns[pod_netns(namespace, name)]
            assert netns.pod is not None
            return self.pods.ensure(self.kernel.netns(netns.name), netns.pod).pid

        def env(namespace: str, name: str) -> Mapping[str, str]:
            pod = plan.netns[pod_netns(namespace, name)].pod
            return next((each.env for each in pod.processes if not each.init), {}) if pod else {}

        entrances = inventory.Entrances(path=lambda name: self.kernel.netns(name).path, pid=pid, env=env)
        argv, variables = inventory.command(inventory.of_plan(plan, entrances), script)
        stdin, stdout, stderr = fds
        return process.spawn(argv, env=variables, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)

    def flush(self, stale: Iterable[StaleFlow], nodes: Iterable[Node]) -> None:
        """Nodes side by side: each time the kernel searches its table of all namespaces, which takes 10 ms."""
        flows = tuple(stale)

        def flush(node: Node) -> None:
            for flow in flows:
                self.kernel.flush_conntrack(node.name, orig_dst=flow.address, dst_nat=flow.backend, dport=flow.port)

        if flows:
            with ThreadPoolExecutor(thread_name_prefix="conntrack") as pool:
                list(pool.map(flush, nodes))

    def close(self) -> None:
        for error in self.kernel.close():
            log.warning("%s", error)
