"""What a testbed can do and Kubernetes has no REST path for: /emu/v1/…"""

from __future__ import annotations

from typing import Any

from emu.api import load, resources
from emu.api.load import Loaded
from emu.api.objects import key_of
from emu.apiserver import describe as description
from emu.apiserver import objects
from emu.apiserver.http import Answer, Request, Text
from emu.apiserver.results import trace_answer
from emu.apiserver.status import ApiError
from emu.apiserver.testbed import Testbed
from emu.cluster import readiness
from emu.errors import EmuError, Place
from emu.plan import expectations
from emu.report import bpf as maps
from emu.report.plan import plan_text


def status(testbed: Testbed, request: Request) -> Answer:
    """What `emu ls` shows beside the name."""
    cluster = testbed.cluster
    stored = testbed.store.snapshot().objects
    kinds = [key[0] for key in stored]
    return {
        "nodes": len(cluster.nodes) if cluster else 0,
        "pods": kinds.count("Pod"),
        "services": kinds.count("Service"),
        "cni": testbed.topology.cni.mode,
        "proxy": testbed.topology.proxy.mode,
        "warnings": readiness.warnings(cluster.warnings if cluster else (), stored),
        "expected": _expected(testbed, 2),
    }


def apply(testbed: Testbed, request: Request) -> Answer:
    """All documents in one step: either all are stored, or none. `places` says where each stands, for messages."""
    body = request.json()
    documents = body.get("objects", [])
    made = [objects.decode(document, None) for document in documents]
    places = {key_of(obj): Place(*place) for obj, place in zip(made, body.get("places", []), strict=False)}
    load.check_images(Loaded(objects=tuple(made), places=places), testbed.registry)
    before = testbed.cluster.warnings if testbed.cluster else ()
    done = testbed.apply(made, places)
    after = testbed.cluster.warnings if testbed.cluster else ()
    return {
        "applied": [_applied(each.object.KIND, each.object.metadata.name, each.word) for each in done],
        "warnings": [each for each in after if each not in before],
    }


def _applied(kind: str, name: str, word: str) -> dict[str, str]:
    return {"name": f"{resources.BY_KIND[kind].qualified}/{name}", "word": word}


def describe(testbed: Testbed, request: Request) -> Answer:
    """`?kind=&namespace=&name=`: as text."""
    query = request.query
    resource = resources.of_name(query.get("kind", ""))
    obj = objects.find(testbed, resource, query.get("namespace", ""), query.get("name", ""))
    return Text(description.describe(obj, testbed.store.snapshot().objects))


def plan(testbed: Testbed, request: Request) -> Answer:
    """`?output=script`, or json."""
    if testbed.applied is None:
        raise EmuError("the testbed has no plan yet")
    return Text(plan_text(testbed.applied, request.query.get("output", "")))


def bpf(testbed: Testbed, request: Request) -> Answer:
    """`?kind=&node=`: the maps of one Node, or of every Node that has them."""
    kind = request.query.get("kind", "")
    if kind not in maps.LISTINGS:
        raise ApiError(400, "BadRequest", f"kind is {kind!r}, must be one of {', '.join(maps.LISTINGS)}")
    node = request.query.get("node", "")
    found = testbed.entries(maps.LISTINGS[kind].maps, node)
    texts = (f"{'' if node else f'# {name}{chr(10)}'}{maps.table(kind, each)}" for name, each in found.items())
    return Text("\n".join(texts))


def check(testbed: Testbed, request: Request) -> Answer:
    drifts = testbed.check(bool(request.json().get("repair")))
    return {"drifts": [_drift(each) for each in drifts], "expected": _expected(testbed)}


def _expected(testbed: Testbed, most: int = 100) -> list[str]:
    """What the plan expects the kernel to refuse."""
    return list(expectations.told(testbed.plan, most)) if testbed.plan else []


def _drift(drift: Any) -> dict[str, str]:
    fields = ("netns", "what", "wanted", "got")
    return {**{name: str(getattr(drift, name)) for name in fields}, "text": str(drift)}


def trace(testbed: Testbed, request: Request) -> Answer:
    body = request.json()
    for name in ("source", "target"):
        if not isinstance(body.get(name), str):
            raise ApiError(400, "BadRequest", f"{name} is missing")
    if not isinstance(body.get("size"), int | None):
        raise ApiError(400, "BadRequest", "size is no number")
    asked = (body["source"], body["target"], tuple(body.get("command", ())), body.get("proto", ""))
    result = testbed.trace(*asked, size=body.get("size"), df=bool(body.get("df")))
    return trace_answer(result, color=bool(body.get("color")))
