"""The cluster as each step will find it, computed before anything starts: a script that names what cannot be there is
refused. Pure: the same resolve and planners that the testbed uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu import planners
from emu.api import images, load, tree
from emu.api.load import Loaded
from emu.api.objects import Deployment, Key, KubeObject, Node, Pod, ReplicaSet, key_of
from emu.api.resources import Resource
from emu.api.topology import Topology
from emu.api.wrong import Wrong, did_you_mean
from emu.capture.points import all_points, points
from emu.cluster import objectmap, report, resolve, update
from emu.cluster.model import Cluster
from emu.errors import EmuError, InputError
from emu.experiment import references
from emu.plan.model import Plan
from emu.testbed import targets
from emu.trace.model import CapturePoint

if TYPE_CHECKING:
    from emu.experiment.faults import Fault

NOW = "2000-01-01T00:00:00Z"  # no name or address depends on the time


class World:
    """`file` is the experiment's; `node` the step that is looked at, with its lines."""

    def __init__(self, file: Path, topology: Topology, manifests: Loaded) -> None:
        self.file, self.topology, self.node = file, topology, tree.Map()
        self.registry = images.load_registry(topology.images)
        self.read: dict[object, Loaded] = {}
        self.captures: dict[str, bool] = {}  # name → still running
        self.broken: list[Fault] = []
        self._places = dict(manifests.places)
        self._resolve({key_of(each): each for each in manifests.objects})

    # -- what changes -----------------------------------------------------------------------------------------------

    def apply(self, what: object, loaded: Loaded) -> None:
        load.check_images(loaded, self.registry)
        self.read[what] = loaded
        self._places |= loaded.places
        before = self.cluster.objects
        wanted = [update.updated(before.get(key_of(each)), each) for each in loaded.objects]
        self._resolve(objectmap.changed(before, wanted))

    def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        obj = self.get(resource, namespace, name)
        if not isinstance(obj, Deployment | ReplicaSet):
            raise Wrong(f"a {obj.KIND} has no replicas", "what", sentence=True)
        scaled = replace(obj, spec=replace(obj.spec, replicas=replicas))  # type: ignore[arg-type]
        self._resolve(objectmap.changed(self.cluster.objects, [scaled]))

    def delete(self, keys: Iterable[Key]) -> None:
        self._resolve(objectmap.changed(self.cluster.objects, (), list(keys)))

    def _resolve(self, objects: Mapping[Key, KubeObject]) -> None:
        self.cluster: Cluster = resolve.resolve(self.topology, objects, self.registry, NOW, places=self._places)
        if self.cluster.joining:
            joined = objectmap.changed(self.cluster.objects, list(self._joined()))
            self.cluster = resolve.resolve(self.topology, joined, self.registry, NOW, places=self._places)
        self.__dict__.pop("plan", None)

    def _joined(self) -> Iterator[Pod]:
        """What CNI plugins will give Pods is theirs to know: any addresses stand for it, as only names are asked."""
        for number, each in enumerate((*self.cluster.pods, *self.cluster.joining), start=2):
            pod = self.cluster.objects[Pod.KIND, each.namespace, each.name]
            assert isinstance(pod, Pod)
            given = [network[number] for network in self.cluster.pod_ranges]
            yield report.joined(pod, given, self.cluster.families, NOW)

    # -- what is there ----------------------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> Plan:
        return planners.build(self.cluster)

    @property
    def pods(self) -> Sequence[Pod]:
        return tuple(objectmap.of_kind(self.cluster.objects, Pod))

    @property
    def nodes(self) -> Sequence[Node]:
        return tuple(objectmap.of_kind(self.cluster.objects, Node))

    def get(self, resource: Resource, namespace: str, name: str) -> KubeObject:
        key = (resource.kind, namespace if resource.namespaced else "", name)
        found = self.cluster.objects.get(key)
        if found is None:
            names = [each[2] for each in self.cluster.objects if each[:2] == key[:2]]
            near = did_you_mean(name, names)
            raise Wrong(f"is {name}, and there is no such {resource.kind}{'; ' if near else ''}{near}", "what",
                        hint=f"there are {', '.join(names)}" if names else "")  # fmt: skip
        return found

    def line(self, *path: str | int) -> int:
        return tree.line_of(self.node, path)

    # -- what a step names ------------------------------------------------------------------------------------------

    def where(self, text: str, field: str) -> str:
        """A Pod or Node; "" when only the run can tell (a Pod that a Deployment will have made)."""
        try:
            return references.where(self.pods, self.nodes, text, [each.name for each in self.cluster.routers])
        except Wrong as wrong:
            if self._may_be_made(text):
                return ""
            raise wrong.under(field) from None

    def _may_be_made(self, text: str) -> bool:
        """Generated names of Pods that follow a deleted one cannot be known; that they are such names can."""
        name = text.rpartition("/")[2]
        return any(
            name.startswith(f"{key[2]}-") for key in self.cluster.objects if key[0] in ("Deployment", "DaemonSet")
        )

    def target(self, text: str, field: str) -> None:
        """What a trace or a ping may go to: a Pod, Node, Service or address, with a port or not."""
        name, port = references.split_port(text)
        if references.selector(name):
            text = (self.where(name, field) or name) + port
        try:
            targets.target(self.cluster, text)
        except InputError as error:
            if not self._may_be_made(name):
                raise Wrong(f"is {text}: {error.what}", field, hint=error.hint) from None

    def url(self, text: str, field: str) -> None:
        host = references.split_url(text)[1]
        if references.selector(host):
            self.where(host, field)

    def select(self, selectors: Sequence[str], field: str) -> None:
        for index, each in enumerate(selectors):
            try:
                points(self.plan, [references.points(self.pods, self.nodes, each)])
            except Wrong as wrong:
                raise wrong.under(field, index) from None
            except EmuError as error:
                if not self._may_come(each.partition(":")[0]):
                    raise Wrong(f"is {each}: {error.message}", field, index, hint=error.hint) from None

    def point(self, pattern: str, *field: Any) -> None:
        """A pattern of hops, as `node1:flannel.1` or `*:cni0`, that some interface of the lab fits."""
        known = all_points(self.plan)
        if any(fits(each, pattern) for each in known) or self._may_come(pattern.partition(":")[0]):
            return
        near = did_you_mean(pattern, [str(each).removeprefix("default/") for each in known])
        raise Wrong(f"is {pattern}, and no interface is called so{'; ' if near else ''}{near}", *field)

    def _may_come(self, place: str) -> bool:
        """Whether there may be an interface that no plan knows: of a Pod yet to be made, or made by CNI plugins."""
        owners = [netns.owner for netns in self.plan.netns.values()] if self.topology.cni.conflist else []
        names = [name for owner in owners for name in (owner, owner.removeprefix("default/"))]
        known = references.selector(place) or any(fnmatchcase(name, place) for name in names)
        return self._may_be_made(place) or bool(self.topology.cni.conflist and known)


def fits(point: CapturePoint, pattern: str) -> bool:
    name = str(point)
    return any(fnmatchcase(each, pattern) for each in (name, name.removeprefix("default/")))
