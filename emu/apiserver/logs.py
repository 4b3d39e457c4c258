"""A container's output, whole or as it comes."""

from __future__ import annotations

from emu.api.objects import Pod
from emu.api.resources import Resource
from emu.apiserver.http import Answer, Request, Text
from emu.apiserver.objects import find
from emu.apiserver.status import ApiError
from emu.apiserver.testbed import Testbed


def log(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    pod = find(testbed, resource, namespace, name)
    assert isinstance(pod, Pod)
    container = container_of(pod, request.query.get("container", ""))
    text = testbed.logs(namespace, name, container, request.query.get("previous") == "true")
    text = text if isinstance(text, str) else text.read_text(errors="replace")
    return Text(_tail(text, request.query.get("tailLines", "")))


def container_of(pod: Pod, wanted: str) -> str:
    """The container that is meant: the only one, or else the first."""
    known = [each.name for each in (*pod.spec.containers, *pod.spec.init_containers)]
    if wanted and wanted not in known:
        raise ApiError(
            400,
            "BadRequest",
            f"container {wanted} is not valid for pod {pod.metadata.name}",
            hint=f"its containers: {', '.join(known)}",
        )
    return wanted or known[0]


def _tail(text: str, lines: str) -> str:
    if not lines.isdigit():
        return text
    return "".join(text.splitlines(keepends=True)[-int(lines) :]) if int(lines) else ""
