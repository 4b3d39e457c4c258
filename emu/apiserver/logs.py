"""A container's output: what there is, or also what comes, until the container ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from emu.api.objects import ContainerStatus, Pod
from emu.api.resources import Resource
from emu.apiserver.http import Answer, Bytes, Request, Text
from emu.apiserver.objects import find
from emu.apiserver.status import ApiError
from emu.apiserver.testbed import Testbed

LOOK_S = 0.1  # how often a followed file is looked at


def log(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    pod = find(testbed, resource, namespace, name)
    assert isinstance(pod, Pod)
    container = container_of(pod, request.query.get("container", ""))
    previous = request.query.get("previous") == "true"
    file = testbed.logs(namespace, name, container, previous)
    tail = request.query.get("tailLines", "")
    if request.query.get("follow") == "true" and not previous:
        return Bytes(_follow(testbed, pod, container, file, tail))
    return Text(_last(file.read_text(errors="replace"), tail))


def container_of(pod: Pod, wanted: str) -> str:
    """The container that is meant: the first, if none is named."""
    known = [each.name for each in (*pod.spec.containers, *pod.spec.init_containers)]
    if wanted and wanted not in known:
        message = f"container {wanted} is not valid for pod {pod.metadata.name}"
        raise ApiError(400, "BadRequest", message, hint=f"its containers: {', '.join(known)}")
    return wanted or known[0]


def _last(text: str, lines: str) -> str:
    if not lines.isdigit():
        return text
    return "".join(text.splitlines(keepends=True)[-int(lines) :]) if int(lines) else ""


def _follow(testbed: Testbed, pod: Pod, container: str, path: Path, tail: str) -> Iterator[bytes]:
    rest = threading.Event()
    life = _life(testbed, pod, container)
    with path.open("rb") as file:
        yield _last(file.read().decode(errors="replace"), tail).encode()
        while True:
            ended = life is None or life != _life(testbed, pod, container)
            data = file.read()
            yield data
            if ended and not data:
                return
            rest.wait(LOOK_S)


def _life(testbed: Testbed, pod: Pod, container: str) -> int | None:
    """Which run of the container it is, counted from 0; None once it has ended for good."""
    now = testbed.store.snapshot().objects.get((Pod.KIND, pod.metadata.namespace, pod.metadata.name))
    if not isinstance(now, Pod) or now.metadata.uid != pod.metadata.uid:
        return None
    status = _status(now, container)
    if status is None:
        return 0
    return None if status.state.terminated else status.restart_count


def _status(pod: Pod, container: str) -> ContainerStatus | None:
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    return next((each for each in statuses if each.name == container), None)
