"""What the tests do inside a lab: run programs, apply YAML, wait, look things up."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile

from emu.api import load
from emu.api.objects import EndpointSlice, Pod, Service
from emu.cluster import lifecycle
from emu.kernel.netns import socket_in
from emu.names import pod_netns
from emu.plan.model import Changes
from emu.testbed.facade import Testbed
from emu.testbed.reconciler import Applied


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str  # stdout and stderr


def run(testbed: Testbed, where: str, command: str | Sequence[str], *, container: str = "") -> Ran:
    """A program in a Pod (of namespace default if none is said) or on a Node, as `emu exec` runs it; a string is for
    the shell."""
    argv = ["sh", "-c", command] if isinstance(command, str) else command
    where = where if "/" in where else f"default/{where}"
    with TemporaryFile() as output, open(os.devnull) as null:
        code = testbed.exec(where, argv, (null.fileno(), output.fileno(), output.fileno()), container=container)
        output.seek(0)
        return Ran(code, output.read().decode(errors="replace"))


def out(testbed: Testbed, where: str, command: str | Sequence[str]) -> str:
    """What a program that must succeed has written."""
    ran = run(testbed, where, command)
    assert ran.code == 0, f"{where}$ {command}\nexit status {ran.code}\n{ran.out}"
    return ran.out


def opened(testbed: Testbed, pod_name: str, kind: socket.SocketKind) -> socket.socket:
    """A socket in a Pod of namespace default. It gives up after two seconds."""
    sock = socket_in(testbed.host.netns(pod_netns("default", pod_name)), socket.AF_INET, kind, 0)
    sock.settimeout(2)
    return sock


def ask(testbed: Testbed, pod_name: str, address: str, port: int, text: str) -> str:
    """One datagram and its answer, from a port of its own."""
    with opened(testbed, pod_name, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        sock.send(text.encode())
        return sock.recv(4096).decode()


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def apply(testbed: Testbed, manifests: str, *, ready: bool = True) -> tuple[Applied, ...]:
    """`kubectl apply`, then wait until every Pod is ready."""
    loaded = load.parse_manifests(manifests, "applied.yaml")
    applied = testbed.apply(loaded.objects, loaded.places)
    if ready:
        testbed.wait_ready(8)
    return applied


def pod(testbed: Testbed, name: str, namespace: str = "default") -> Pod:
    found = testbed.get((Pod.KIND, namespace, name))
    assert isinstance(found, Pod)
    return found


def pods(testbed: Testbed, app: str, namespace: str = "default") -> list[Pod]:
    """By the label `app`, in the order of their names; without those on their way out."""
    objects = testbed.store.snapshot().objects.values()
    here = (each for each in objects if isinstance(each, Pod) and each.metadata.namespace == namespace)
    found = (each for each in here if each.metadata.labels.get("app") == app)
    return sorted((each for each in found if not lifecycle.is_terminating(each)), key=lambda each: each.metadata.name)


def addresses(testbed: Testbed, app: str, namespace: str = "default") -> list[str]:
    return sorted(each.status.pod_ip for each in pods(testbed, app, namespace))


def is_gone(testbed: Testbed, kind: str, name: str, namespace: str = "default") -> bool:
    return (kind, namespace, name) not in testbed.store.snapshot().objects


def cluster_ip(testbed: Testbed, service: str, namespace: str = "default") -> str:
    found = testbed.get((Service.KIND, namespace, service))
    assert isinstance(found, Service)
    return found.spec.cluster_ip


def endpoints(testbed: Testbed, service: str, namespace: str = "default") -> list[str]:
    """The ready addresses in a Service's EndpointSlices."""
    return sorted(
        address
        for each in testbed.store.snapshot().objects.values()
        if isinstance(each, EndpointSlice)
        and each.metadata.namespace == namespace
        and each.metadata.labels.get("kubernetes.io/service-name") == service
        for endpoint in each.endpoints
        if endpoint.conditions.ready
        for address in endpoint.addresses
    )


@contextmanager
def recorded(testbed: Testbed) -> Iterator[list[Changes]]:
    """The changes the kernel is asked for meanwhile; the kernel makes them all the same."""
    seen: list[Changes] = []
    kernel = testbed.host.kernel
    apply_changes = kernel.apply

    def recording(changes: Changes, plan: object) -> None:
        if changes:
            seen.append(changes)
        apply_changes(changes, plan)

    kernel.apply = recording
    try:
        yield seen
    finally:
        kernel.apply = apply_changes


def deployment(name: str, replicas: int = 1) -> str:
    """With a Service of the same name."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: web, image: "nginxdemos/hello:plain-text"}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80}}]
"""


def scaled(testbed: Testbed, name: str, replicas: int) -> None:
    """And everything has followed: the new Pods are ready, the superfluous ones gone."""
    app = "nginx" if name == "nginx-hello" else name
    testbed.scale(("Deployment", "default", name), replicas)
    testbed.wait_ready(8)
    wait_until(lambda: len(pods_there(testbed, app)) == replicas, f"{replicas} Pods of {name}")


def pods_there(testbed: Testbed, app: str) -> list[str]:
    """Those on their way out too."""
    objects = testbed.store.snapshot().objects.values()
    return [each.metadata.name for each in objects if each.KIND == "Pod" and each.metadata.labels.get("app") == app]
