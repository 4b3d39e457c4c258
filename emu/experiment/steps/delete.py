"""`delete`: objects by KIND/NAME, a Pod by its labels too; wait until they are gone and what follows them is ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from emu.api import resources
from emu.api.meta import json_name
from emu.api.objects import Key
from emu.api.resources import Resource
from emu.api.wrong import Wrong
from emu.errors import InputError
from emu.experiment.lab import Lab
from emu.experiment.model import Said
from emu.experiment.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    NAME: ClassVar = "delete"
    SHORT: ClassVar = "what"
    what: tuple[str, ...]  # pod/client, pod/app=nginx (the first), deployment/web
    namespace: str = "default"
    ready: bool = True
    timeout_s: int = json_name("timeout_s", default=15)

    def title(self) -> str:
        return f"delete {', '.join(self.what)}"

    def foresee(self, world: World) -> None:
        gone: list[Key] = []
        for index, text in enumerate(self.what):
            resource, name = kind_and_name(text, "what", index)
            if "=" in name:
                name = world.where(f"{self.namespace}/{name}", "what").partition("/")[2]
            if resource.kind != "Pod" or world.where(f"{self.namespace}/{name}", "what"):
                found = world.get(resource, self.namespace, name)
                gone.append((resource.kind, found.metadata.namespace, name))
        world.delete(gone)

    def run(self, lab: Lab) -> Said:
        done = []
        for text in self.what:
            resource, name = kind_and_name(text)
            if "=" in name:
                name = lab.where(f"{self.namespace}/{name}").partition("/")[2]
            lab.testbed.delete(resource, self.namespace if resource.namespaced else "", name)
            done.append((resource, name))
        for resource, name in done:
            lab.wait_gone(resource, self.namespace if resource.namespaced else "", [name], self.timeout_s)
        if self.ready:
            lab.wait_ready(self.timeout_s)
        return Said(text="\n".join(f"{resource.qualified}/{name} deleted" for resource, name in done))


def kind_and_name(text: str, *field: str | int) -> tuple[Resource, str]:
    """`deploy/web`. Raises Wrong."""
    kind, slash, name = text.partition("/")
    if not slash or not name:
        raise Wrong(f"is {text}, must be KIND/NAME", *field)
    try:
        return resources.of_name(kind), name
    except InputError as error:
        raise Wrong(f"is {text}: {error.what}", *field, hint=error.hint) from None
