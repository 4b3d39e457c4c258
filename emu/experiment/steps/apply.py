"""`apply`: objects from manifests, as `kubectl apply`; then, unless told otherwise, wait until every Pod is ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from emu.api import load
from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment.lab import Lab
from emu.experiment.model import Said
from emu.experiment.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    NAME: ClassVar = "apply"
    SHORT: ClassVar = "files"
    files: tuple[str, ...] = ()  # beside the experiment's file
    manifest: str = ""  # or written here
    ready: bool = True
    timeout_s: int = json_name("timeout_s", default=10)

    def title(self) -> str:
        return f"apply {', '.join(self.files) or 'a manifest'}"

    def foresee(self, world: World) -> None:
        if bool(self.files) == bool(self.manifest):
            raise Wrong("must have files or a manifest, and not both")
        if self.files:
            loaded = load.manifests(world.file.parent / each for each in self.files)
        else:  # a block begins in the line after its key: so counted, messages name the right line
            loaded = load.parse_manifests("\n" * world.line("manifest") + self.manifest, str(world.file))
        world.apply(self, loaded)

    def run(self, lab: Lab) -> Said:
        done = lab.testbed.apply(lab.read(self))
        if self.ready:
            lab.wait_ready(self.timeout_s)
        return Said(text="\n".join(done))
