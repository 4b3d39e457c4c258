"""What the API says of itself: versions, groups, kinds. Clients such as kubectl ask this first."""

from __future__ import annotations

import platform
from typing import Any

from emu.api.resources import RESOURCES, Resource
from emu.apiserver.http import Answer, Request, Text
from emu.apiserver.testbed import Testbed
from emu.cluster.version import KUBERNETES_VERSION

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def healthz(testbed: Testbed, request: Request) -> Answer:
    return Text("ok")


def version(testbed: Testbed, request: Request) -> Answer:
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": KUBERNETES_VERSION,
        "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
        "compiler": "kube-emu",
    }


def core_versions(testbed: Testbed, request: Request) -> Answer:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(testbed: Testbed, request: Request) -> Answer:
    named = dict.fromkeys(each.group for each in RESOURCES if each.group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in named]}


def _group(name: str) -> dict[str, Any]:
    only = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [only], "preferredVersion": only}


def resources(testbed: Testbed, request: Request) -> Answer:
    group_version = request.path.strip("/").removeprefix("apis/").removeprefix("api/")
    listed = [entry for each in RESOURCES if each.api_version == group_version for entry in _entries(each)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _entries(resource: Resource) -> list[dict[str, Any]]:
    entry = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": VERBS,
        "shortNames": list(resource.short),
        "categories": ["all"] if resource.in_all else [],
    }
    part = {"singularName": "", "namespaced": resource.namespaced}
    parts: list[dict[str, Any]] = []
    if resource.scalable:
        verbs = ["get", "patch", "update"]
        scale = {"kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": verbs}
        parts.append({"name": f"{resource.plural}/scale", **part, **scale})
    if resource.kind == "Pod":
        parts.append({"name": "pods/log", **part, "kind": "Pod", "verbs": ["get"]})
    return [entry, *parts]
