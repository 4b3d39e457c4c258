"""Which function answers which request: two literal tables, one of whole paths and one of the objects' verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from emu.api.resources import RESOURCES, Resource
from emu.apiserver import discovery, logs, objects, requests
from emu.apiserver.http import Answer, Request
from emu.apiserver.status import ApiError
from emu.apiserver.testbed import Testbed

Plain = Callable[[Testbed, Request], Answer]

PLAIN: Mapping[tuple[str, str], Plain] = {
    ("GET", "/healthz"): discovery.healthz,
    ("GET", "/readyz"): discovery.healthz,
    ("GET", "/livez"): discovery.healthz,
    ("GET", "/version"): discovery.version,
    ("GET", "/api"): discovery.core_versions,
    ("GET", "/apis"): discovery.groups,
    ("GET", "/api/v1"): discovery.resources,
    ("GET", "/apis/apps/v1"): discovery.resources,
    ("GET", "/apis/discovery.k8s.io/v1"): discovery.resources,
    ("POST", "/emu/v1/apply"): requests.apply,
    ("GET", "/emu/v1/describe"): requests.describe,
    ("GET", "/emu/v1/plan"): requests.plan,
    ("POST", "/emu/v1/check"): requests.check,
    ("POST", "/emu/v1/trace"): requests.trace,
    ("GET", "/emu/v1/bpf"): requests.bpf,
    ("GET", "/emu/v1/status"): requests.status,
}

LIST: Mapping[str, Callable[[Testbed, Request, Resource, str], Answer]] = {
    "GET": objects.list_,
    "POST": objects.create,
}

OBJECT: Mapping[tuple[str, str], Callable[[Testbed, Request, Resource, str, str], Answer]] = {
    ("GET", ""): objects.get,
    ("PUT", ""): objects.update,
    ("PATCH", ""): objects.patch,
    ("DELETE", ""): objects.delete,
    ("GET", "scale"): objects.get_scale,
    ("PUT", "scale"): objects.set_scale,
    ("PATCH", "scale"): objects.set_scale,
    ("GET", "log"): logs.log,
}


def route(testbed: Testbed) -> Callable[[Request], Answer]:
    return partial(_answer, testbed)


def _answer(testbed: Testbed, request: Request) -> Answer:
    if plain := PLAIN.get((request.method, request.path.rstrip("/"))):
        return plain(testbed, request)
    if found := locate(request.path):
        if not found.name and (listed := LIST.get(request.method)):
            return listed(testbed, request, found.resource, found.namespace)
        if one := OBJECT.get((request.method, found.part)) if found.fits() else None:
            return one(testbed, request, found.resource, found.namespace, found.name)
        raise ApiError(405, "MethodNotAllowed", f"{request.method} is not possible on {request.path}")
    raise ApiError(404, "NotFound", "the server could not find the requested resource")


@dataclass(frozen=True, slots=True)
class Location:
    resource: Resource
    namespace: str = ""
    name: str = ""
    part: str = ""  # log, scale

    def fits(self) -> bool:
        has = {"": True, "log": self.resource.kind == "Pod", "scale": self.resource.scalable}
        return bool(self.name) and bool(self.namespace) == self.resource.namespaced and has.get(self.part, False)


def locate(path: str) -> Location | None:
    """`/api/v1/namespaces/NS/pods/NAME/log`; None for what names no kind there is."""
    match path.strip("/").split("/"):
        case ["api", "v1", *rest]:
            group = ""
        case ["apis", group, "v1", *rest]:
            pass
        case _:
            return None
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource = next((each for each in RESOURCES if rest and (each.group, each.plural) == (group, rest[0])), None)
    return Location(resource, namespace, *rest[1:]) if resource and len(rest) <= 3 else None
