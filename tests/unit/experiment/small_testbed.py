"""A testbed without a lab: its objects are resolved as in a real one, its programs answer what the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from documented import TOPOLOGY, script

from emu.api.load import Loaded
from emu.api.objects import Condition, KubeObject, Pod
from emu.api.resources import Resource
from emu.cluster.selectors import has_all
from emu.experiment import load
from emu.experiment.model import Experiment
from emu.experiment.testbed import Ran
from emu.experiment.world import World
from emu.testbed import targets
from emu.trace.model import Path as Way
from emu.trace.model import TraceResult
from emu.trace.predict import predict

FILE = TOPOLOGY / "experiments" / "written-in-a-test.yaml"
Rows = Sequence[Mapping[str, str]]
Answer = Callable[[str, Sequence[str]], Ran]


def parsed(steps: str) -> Experiment:
    return load.parse(script(steps), FILE)


class SmallTestbed:
    """`answer` is what programs say. Every Pod is ready at once. A trace sees what was predicted, but for `seen`."""

    def __init__(self, experiment: Experiment, answer: Answer = lambda *_: Ran(0, "")) -> None:
        self.world = World(experiment.file, experiment.topology, experiment.manifests)
        self.answer, self.ran = answer, list[tuple[str, tuple[str, ...]]]()
        self.seen: Callable[[Way], Way] = lambda way: way
        self.reply, self.repairs = "connected", 0
        self.rows: Callable[[], Rows] = tuple

    def apply(self, loaded: Loaded) -> Sequence[str]:
        self.world.apply("test", loaded)
        return [f"{each.KIND.lower()}/{each.metadata.name} created" for each in loaded.objects]

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        self.world.delete([(resource.kind, namespace, name)])

    def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        self.world.scale(resource, namespace, name, replicas)

    def objects(self, resource: Resource, namespace: str = "", selector: str = "") -> Sequence[KubeObject]:
        labels = dict(each.split("=") for each in selector.split(",") if each)
        found = [
            _ready(each)
            for each in self.world.cluster.objects.values()
            if resource.kind == each.KIND and namespace in ("", each.metadata.namespace)
            if has_all(labels, each.metadata.labels)
        ]
        return sorted(found, key=lambda each: each.metadata.name)

    def table(
        self, resource: Resource, namespace: str, name: str = "", selector: str = ""
    ) -> Sequence[Mapping[str, str]]:
        return self.rows()

    def run(self, where: str, argv: Sequence[str], timeout_s: float) -> Ran:
        self.ran.append((where, tuple(argv)))
        return self.answer(where, argv)

    def trace(
        self, source: str, target: str, proto: str = "", *, size: int | None = None, df: bool = False
    ) -> TraceResult:
        flow = targets.flow(self.world.cluster, source, target, proto, size=size, df=df)
        prediction = predict(self.world.plan, flow)
        observed = self.seen(prediction.paths[0])
        matched = 0 if observed is prediction.paths[0] else None
        return TraceResult(
            flow=prediction.flow, prediction=prediction, observed=observed, matched=matched, reply_text=self.reply
        )

    def capture(self, selectors: Sequence[str], file: Path) -> Nothing:
        return Nothing()

    def repair(self) -> Sequence[str]:
        self.repairs += 1
        return ()

    def script(self) -> str:
        return ""


class Nothing:
    """A capture of nothing."""

    def stop(self) -> Mapping[str, int]:
        return {}


def _ready(obj: KubeObject) -> KubeObject:
    if not isinstance(obj, Pod):
        return obj
    return replace(obj, status=replace(obj.status, conditions=(Condition(type="Ready", status="True"),)))
