"""Files to typed objects. Everything is read and checked before anything is returned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emu.api import codec, images, kinds, topologyfile, tree, validate
from emu.api.objects import (
    CLUSTER_SCOPED,
    DaemonSet,
    Deployment,
    Key,
    KubeObject,
    Node,
    Pod,
    PodSpec,
    ReplicaSet,
    key_of,
)
from emu.api.topology import Topology
from emu.api.wrong import Wrong, did_you_mean
from emu.errors import InputError, Place

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Objects in the order they were read. `ignored` names what was accepted and has no meaning here, once each."""

    objects: tuple[KubeObject, ...] = ()
    ignored: tuple[str, ...] = ()
    places: Mapping[Key, Place] = field(default_factory=dict)
    sources: Mapping[Key, Any] = field(default_factory=dict, repr=False)

    def place(self, key: Key, *path: str | int) -> Place | None:
        """Where a field of an object stands, as near as known."""
        place = self.places.get(key)
        line = tree.line_of(self.sources.get(key), path) if place else 0
        return Place(place.file, line) if place and line else place


def topology(path: Path, check: topologyfile.Check = lambda _: None) -> Topology:
    """`path` is the topology file, or its folder. `check` raises Wrong for what is not this layer's to know."""
    file = topology_file(path)
    if not file.exists():
        raise InputError("cannot be read: No such file or directory", place=Place(str(path)), hint=_instead(path))
    return topologyfile.parse(_read(file), str(file), check, lambda name: file.parent / name)


def _instead(path: Path) -> str:
    """Topologies beside one that is not there: those with a name like it, or that has it in it."""
    there = [file.parent.name for suffix in SUFFIXES for file in path.parent.glob(f"*/topology{suffix}")]
    holding = sorted(each for each in there if path.name.lower() in each)
    near = did_you_mean(path.name, there) or (f"did you mean {' or '.join(holding[:3])}?" if holding else "")
    return near or (f"ls {path.parent}" if there else "")


def topology_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = next((path / f"topology{suffix}" for suffix in SUFFIXES if (path / f"topology{suffix}").exists()), None)
    if found is None:
        raise InputError("this folder has no topology.yaml", place=Place(str(path)))
    return found


def manifest_paths(topo: Topology, file: Path) -> tuple[Path, ...]:
    """The topology's manifests, beside its file. The default folder need not exist."""
    if topo.manifests == Topology.__dataclass_fields__["manifests"].default:
        return tuple(folder for name in topo.manifests if (folder := file.parent / name).exists())
    return tuple(file.parent / name for name in topo.manifests)


def testbed(path: Path, check: topologyfile.Check = lambda _: None) -> tuple[Topology, Loaded]:
    """A topology with its manifests."""
    file = topology_file(path)
    topo = topology(file, check)
    loaded = manifests(manifest_paths(topo, file))
    check_images(loaded, images.load_registry(topo.images))
    return topo, loaded


def check_images(loaded: Loaded, registry: Mapping[str, images.Image]) -> None:
    """Raises InputError, with the line, for a container that no program stands for."""
    for obj in loaded.objects:
        spec, path = pod_spec(obj)
        if spec is None:
            continue
        for field_name, containers in (("containers", spec.containers), ("initContainers", spec.init_containers)):
            for index, container in enumerate(containers):
                try:
                    images.program(container, registry)
                except Wrong as wrong:
                    key = key_of(obj)
                    wrong.under(*path, field_name, index)
                    raise wrong.located(loaded.places.get(key), loaded.sources.get(key), codec.title(obj)) from None


def pod_spec(obj: KubeObject) -> tuple[PodSpec | None, tuple[str, ...]]:
    """What Pods an object is or makes, and the path to it; (None, ()) for a kind without."""
    if isinstance(obj, Pod):
        return obj.spec, ("spec",)
    if isinstance(obj, Deployment | ReplicaSet | DaemonSet):
        return obj.spec.template.spec, ("spec", "template", "spec")
    return None, ()


def manifests(paths: Iterable[Path]) -> Loaded:
    """Files, and folders of files in the order of their names."""
    return _collect((_read(file), str(file)) for file in _files(paths))


def parse_manifests(text: str, file: str) -> Loaded:
    return _collect([(text, file)])


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
        else:
            yield path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not text: {error.reason}", place=Place(str(path))) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=Place(str(path))) from None


def _collect(texts: Iterable[tuple[str, str]]) -> Loaded:
    objects: dict[Key, KubeObject] = {}
    places: dict[Key, Place] = {}
    sources: dict[Key, Any] = {}
    ignored: set[str] = set()
    for text, file in texts:
        for node in _items(tree.documents(text, file), file):
            place = Place(file, getattr(node, "line", 0))
            obj = _object(node, place, ignored)
            if obj is None:
                continue
            key = key_of(obj)
            if key in objects:
                raise InputError(f"stands here a second time, first in {places[key]}", place=place, subject=str_of(key))
            objects[key], places[key], sources[key] = obj, place, node
    return Loaded(objects=tuple(objects.values()), ignored=tuple(sorted(ignored)), places=places, sources=sources)


def str_of(key: Key) -> str:
    """`Service default/web`."""
    kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _items(documents: Iterable[Any], file: str) -> Iterator[Any]:
    """Documents, a List's items each for itself."""
    for node in documents:
        if kinds.is_list(node):
            yield from kinds.items(node, file)
        else:
            yield node


#: What a server writes, and `kubectl get -o yaml` shows. In a file it says how things were, not how they should be.
STATUS_OF_METADATA = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def _forget_status(node: dict[str, Any]) -> None:
    node.pop("status", None)
    if isinstance(metadata := node.get("metadata"), dict):
        for name in STATUS_OF_METADATA:
            metadata.pop(name, None)


def _object(node: Any, place: Place, ignored: set[str]) -> KubeObject | None:
    """None for a kind that means nothing here."""
    cls = kinds.class_of(node, place, ignored)
    if cls is None:
        return None
    if cls is Node:
        raise InputError("Nodes are made from the topology's nodes", place=place, subject=codec.subject(node))
    _forget_status(node)
    obj: KubeObject = codec.decode(cls, node, place, ignored)
    if cls.KIND not in CLUSTER_SCOPED and not obj.metadata.namespace:
        obj = replace(obj, metadata=replace(obj.metadata, namespace="default"))
    validate.check(obj, place, node)
    return obj
