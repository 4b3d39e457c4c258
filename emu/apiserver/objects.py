"""The objects over REST, with Kubernetes' verbs: get, list, watch, create, update, patch, delete, scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from emu.api import codec, kinds, validate
from emu.api.objects import CLUSTER_SCOPED, Deployment, KubeObject, ReplicaSet
from emu.api.resources import Resource
from emu.apiserver import selecting, tables
from emu.apiserver.http import Answer, Created, Request, Stream
from emu.apiserver.status import ApiError, not_found, status
from emu.apiserver.testbed import Testbed
from emu.errors import EmuError, Place
from emu.store import Event

STILL_READ_S = 5  # a silent watch asks this often whether its client is still there


def find(testbed: Testbed, resource: Resource, namespace: str, name: str) -> KubeObject:
    found = testbed.store.snapshot().objects.get((resource.kind, namespace, name))
    if found is None:
        raise not_found(resource.qualified_plural, name)
    return found


def get(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    return _shown(request, resource, find(testbed, resource, namespace, name))


def _shown(request: Request, resource: Resource, obj: KubeObject) -> Answer:
    if tables.wanted(request.accept):
        return tables.table(resource, [obj], obj.metadata.resource_version)
    return codec.encode(obj)


def list_(testbed: Testbed, request: Request, resource: Resource, namespace: str) -> Answer:
    chosen = _chosen(request, resource, namespace)
    snapshot = testbed.store.snapshot()
    if request.query.get("watch", "") in ("1", "true"):
        return watch(testbed, request, resource, chosen)
    found = sorted(filter(chosen, snapshot.objects.values()), key=_by_name)
    version = str(snapshot.version)
    if tables.wanted(request.accept):
        return tables.table(resource, found, version)
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": version},
        "items": [codec.encode(obj) for obj in found],
    }


def _by_name(obj: KubeObject) -> tuple[str, str]:
    """The order of etcd's keys."""
    return obj.metadata.namespace, obj.metadata.name


def _chosen(request: Request, resource: Resource, namespace: str) -> Callable[[KubeObject], bool]:
    selected = selecting.chosen(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))

    def chosen(obj: KubeObject) -> bool:
        return resource.kind == obj.KIND and namespace in ("", obj.metadata.namespace) and selected(obj)

    return chosen


def watch(testbed: Testbed, request: Request, resource: Resource, chosen: Callable[[KubeObject], bool]) -> Stream:
    """Events after `resourceVersion`; without one, first an ADDED for each object there is."""
    since = request.query.get("resourceVersion", "")
    as_table = tables.wanted(request.accept)
    first: list[Event] = []
    if since in ("", "0"):
        snapshot = testbed.store.snapshot()
        found = sorted(filter(chosen, snapshot.objects.values()), key=_by_name)
        first = [Event(type="ADDED", object=obj, version=snapshot.version) for obj in found]
        version = snapshot.version
    elif since.isdigit():
        version = int(since)
    else:
        raise ApiError(400, "BadRequest", f'resourceVersion is "{since}", must be a number')
    following = _following(testbed, version, chosen)
    return Stream(_documents(resource, first, following, as_table))


def _following(testbed: Testbed, version: int, chosen: Callable[[KubeObject], bool]) -> Iterator[Event | None]:
    while True:
        for event in testbed.store.watch(version, timeout_s=STILL_READ_S):
            version = event.version
            if chosen(event.object):
                yield event
        yield None


def _documents(
    resource: Resource, first: list[Event], following: Iterator[Event | None], as_table: bool
) -> Iterator[dict[str, Any] | None]:
    def document(event: Event) -> dict[str, Any]:
        if not as_table:
            return {"type": event.type, "object": codec.encode(event.object)}
        table = tables.table(resource, [event.object], event.object.metadata.resource_version)
        return {"type": event.type, "object": table}

    yield from map(document, first)
    try:
        for event in following:
            yield None if event is None else document(event)
    except EmuError as error:  # the answer has begun: the error is its last event
        yield {"type": "ERROR", "object": status(error)}


def decode(document: Any, resource: Resource | None, namespace: str = "") -> KubeObject:
    """A document of a request as an object, with every check a manifest gets. Its status is not the sender's to say."""
    if resource and isinstance(document, dict):
        document = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
    cls = kinds.class_of(document, None, set())
    if cls is None:
        raise ApiError(400, "BadRequest", f"kind {document['kind']} means nothing here")
    obj: KubeObject = codec.decode_json(cls, {key: value for key, value in document.items() if key != "status"})
    if cls.KIND not in CLUSTER_SCOPED and not obj.metadata.namespace:
        obj = replace(obj, metadata=replace(obj.metadata, namespace=namespace or "default"))
    validate.check(obj, Place(), document)
    return obj


def create(testbed: Testbed, request: Request, resource: Resource, namespace: str) -> Answer:
    obj = decode(request.json(), resource, namespace)
    _same_namespace(obj, namespace)
    key = (resource.kind, obj.metadata.namespace, obj.metadata.name)
    if key in testbed.store.snapshot().objects:
        raise ApiError(409, "AlreadyExists", f'{resource.qualified_plural} "{obj.metadata.name}" already exists')
    testbed.apply([obj])
    return Created(codec.encode(testbed.get(key)))


def update(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    return _write(testbed, resource, request.json(), namespace, name)


def patch(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    """A merge patch (RFC 7386). A strategic one is taken for it, which is right unless it merges lists."""
    if "json-patch" in request.content_type:
        raise ApiError(415, "UnsupportedMediaType", "a JSON patch is not built yet", hint="send a merge patch")
    current = codec.encode(find(testbed, resource, namespace, name))
    return _write(testbed, resource, merged(current, request.json()), namespace, name)


def _write(testbed: Testbed, resource: Resource, document: Any, namespace: str, name: str) -> Answer:
    current = find(testbed, resource, namespace, name)
    obj = decode(document, resource, namespace)
    if obj.metadata.name != name:
        raise ApiError(400, "BadRequest", f"the object's name is {obj.metadata.name}, the URL's {name}")
    _same_namespace(obj, namespace)
    version = obj.metadata.resource_version
    if version and version != current.metadata.resource_version:
        raise ApiError(
            409,
            "Conflict",
            f'Operation cannot be fulfilled on {resource.qualified_plural} "{name}": the object has been modified; '
            "please apply your changes to the latest version and try again",
        )
    testbed.apply([obj])
    return codec.encode(testbed.get((resource.kind, namespace, name)))


def _same_namespace(obj: KubeObject, namespace: str) -> None:
    if namespace and obj.metadata.namespace != namespace:
        raise ApiError(
            400, "BadRequest", f"the object's namespace is {obj.metadata.namespace}, the request's {namespace}"
        )


def merged(document: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def delete(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    """A Pod is answered as it is, terminating; the others are gone, though another of the name may be there already."""
    found = find(testbed, resource, namespace, name)
    options = request.json()
    grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    testbed.delete([(resource.kind, namespace, name)], None if grace is None else int(grace))
    left = testbed.store.snapshot().objects.get((resource.kind, namespace, name))
    if left is not None and left.metadata.uid == found.metadata.uid:
        return codec.encode(left)
    details = {"name": name, "kind": resource.plural, "group": resource.group, "uid": found.metadata.uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def get_scale(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    return _scale(find(testbed, resource, namespace, name))


def set_scale(testbed: Testbed, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
    find(testbed, resource, namespace, name)
    replicas = (request.json().get("spec") or {}).get("replicas")
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise ApiError(400, "BadRequest", f"spec.replicas is {replicas!r}, must be a whole number")
    return _scale(testbed.scale((resource.kind, namespace, name), replicas))


def _scale(obj: KubeObject) -> dict[str, Any]:
    assert isinstance(obj, Deployment | ReplicaSet)
    meta = codec.encode(obj)["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = ",".join(f"{key}={value}" for key, value in obj.spec.selector.match_labels.items())
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": obj.spec.replicas},
        "status": {"replicas": obj.status.replicas, "selector": selector},
    }
