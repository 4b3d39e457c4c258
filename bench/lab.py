"""A whole lab by the real path, with a clock in it: files → all Pods ready, cluster DNS and a Service answering; then
its memory, then changes of one endpoint. Run by `bench.bench` as a program of its own: memory shared with a bigger
parent would be counted by halves. `python -m bench.lab DIRECTORY FD CHANGES`"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message

from bench import stages
from emu import planners
from emu.api import load
from emu.api.objects import Pod, Service
from emu.cluster import resolve
from emu.kernel import firewall, limits, sandbox
from emu.kernel.apply import Kernel
from emu.kernel.daemons import Daemons
from emu.kernel.plugins import Plugins
from emu.kernel.sandbox import Sandbox
from emu.plan import diff
from emu.testbed import lab
from emu.testbed.facade import Testbed
from emu.testbed.host import Host
from emu.testbed.reconciler import Reconciler

SEEN_S = 5.0
KERNEL_MEMORY = ("Slab", "Percpu", "KernelStack", "PageTables")
CLOCKED = (
    (load, "testbed", "load"),
    (resolve, "resolve", "resolve"),
    (planners, "build", "build"),
    (diff, "diff", "diff"),
    (Kernel, "apply", "apply"),
    (Kernel, "_furnish", "apply: namespaces and links"),
    (Kernel, "_restore", "apply: rules, at first beside links"),
    (Host, "flush", "conntrack"),
    (Host, "follow", "servers told"),
    (Daemons, "change", "apply: daemons"),
    (Plugins, "join", "apply: CNI plugins"),
    (Reconciler, "wait_ready", "up: Pods awaited"),
    (Reconciler, "converge", "up: daemons awaited"),
)


def main() -> None:
    directory, report, changes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.environ.setdefault(limits.IGNORED, "neighbors-ipv4")  # hardly a Pod talks to another here
    caller = os.pidfd_open(os.getpid())
    clock = Clock()
    before = kernel_memory()
    start = time.perf_counter()
    topology, loaded = load.testbed(directory)

    def inside(within: Sandbox) -> None:
        def serve(_api: object, _attach: object, testbed: Testbed) -> None:
            if loaded.objects and topology.proxy.mode != "none":
                answered(testbed)
            ready_s = time.perf_counter() - start
            laps, cpu = dict(clock.seconds), os.times()
            within.ready()
            select.select([caller], [], [])  # gone: what it shared with the lab is the lab's alone now
            result = {"ready_s": ready_s, "laps": laps, "pods": len(pods(testbed))}
            result["user_s"], result["system_s"] = cpu.user + cpu.children_user, cpu.system + cpu.children_system
            result["children_s"] = cpu.children_user + cpu.children_system  # programs that have ended
            result["kernel_kb"] = {key: kb - before[key] for key, kb in kernel_memory().items()}
            result["process_kb"] = process_memory()
            result["change"] = [changed(testbed, clock) for _ in loaded.objects[:changes]]
            os.write(report, json.dumps(result).encode())
            within.stop()

        lab.main(within, topology, loaded, serve)

    with tempfile.TemporaryDirectory() as runtime:
        os.chmod(runtime, 0o700)
        sandbox.launch(topology.name, Path(runtime), inside)


class Clock:
    """Where the time goes: what calls of the clocked functions took, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.reset()
        self.ended: dict[str, float] = {}
        for owner, name, lap in CLOCKED:
            setattr(owner, name, self._timed(getattr(owner, name), lap))

    def reset(self) -> None:
        self.seconds = {lap: 0.0 for _, _, lap in CLOCKED}

    def _timed(self, function: Callable[..., Any], lap: str) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.ended[lap] = time.perf_counter()
                self.seconds[lap] += self.ended[lap] - start

        return timed


def pods(testbed: Testbed) -> list[Pod]:
    return [obj for obj in testbed.store.snapshot().objects.values() if isinstance(obj, Pod)]


def answered(testbed: Testbed) -> None:
    """A Pod asks cluster DNS for a Service, by UDP through the Service's own NAT, and gets its page."""
    client = testbed.host.open_socket("default." + stages.some_pod(testbed.cluster))
    service = testbed.get((Service.KIND, "default", "app-7"))
    query = dns.message.make_query("app-7.default.svc.cluster.local.", "A")
    with client(socket.AF_INET, socket.SOCK_DGRAM, 0) as sock:
        sock.settimeout(SEEN_S)
        sock.connect(("10.96.0.10", 53))
        sock.send(query.to_wire())
        (answer,) = dns.message.from_wire(sock.recv(4096)).answer[0]
    assert answer.address == service.spec.cluster_ip, answer
    with client(socket.AF_INET, socket.SOCK_STREAM, 0) as sock:
        sock.settimeout(SEEN_S)
        sock.connect((answer.address, 80))
        sock.send(b"GET / HTTP/1.1\r\nHost: app-7\r\nConnection: close\r\n\r\n")
        assert b"Server name: app-7-" in sock.recv(4096)


def kernel_memory() -> dict[str, int]:
    """KB of the whole machine, by kind."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) for words in lines if words[0][:-1] in KERNEL_MEMORY}


def process_memory() -> dict[str, int]:
    """KB of each process of the lab (its PID namespace), shared pages by halves."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        lines = (directory / "smaps_rollup").read_text().splitlines()
        kb = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        found[f"{(directory / 'comm').read_text().strip()} {directory.name}"] = kb
    return found


def changed(testbed: Testbed, clock: Clock) -> dict[str, float]:
    """A Pod's readiness changes: from the write until every Node's kernel has the rules."""
    clock.reset()
    name = stages.some_pod(testbed.cluster)
    pod = testbed.get((Pod.KIND, "default", name))
    ready = not stages.is_ready(pod)
    start = time.perf_counter()
    testbed.replace(stages.with_ready(pod, ready))
    total_s, laps = clock.ended["apply"] - start, dict(clock.seconds)
    for node in stages.node_names(testbed.plan):
        rules = firewall.save(testbed.host.netns(node), "nft", 4)
        assert (f"--to-destination {pod.status.pod_ip}:80" in rules) == ready, f"{node} has not heard"
    return {"total": total_s, **laps}


if __name__ == "__main__":
    main()
