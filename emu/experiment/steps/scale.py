"""`scale`: the number of Pods of a Deployment or ReplicaSet; then wait until they are ready and the others gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment.lab import Lab
from emu.experiment.model import Said
from emu.experiment.steps.delete import kind_and_name
from emu.experiment.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    NAME: ClassVar = "scale"
    SHORT: ClassVar = ""
    what: str  # deployment/web
    replicas: int
    namespace: str = "default"
    ready: bool = True
    timeout_s: int = json_name("timeout_s", default=15)

    def title(self) -> str:
        return f"scale {self.what} to {self.replicas}"

    def foresee(self, world: World) -> None:
        resource, name = kind_and_name(self.what, "what")
        if self.replicas < 0:
            raise Wrong(f"is {self.replicas}, must be 0 or more", "replicas")
        world.scale(resource, self.namespace, name, self.replicas)

    def run(self, lab: Lab) -> Said:
        resource, name = kind_and_name(self.what)
        lab.testbed.scale(resource, self.namespace, name, self.replicas)
        if self.ready:
            lab.wait_ready(self.timeout_s)
        return Said(text=f"{resource.qualified}/{name} scaled")
