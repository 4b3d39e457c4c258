"""Image name → local program. The shipped registry is `images.yaml` beside this file;
a topology's `images:` extends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What stands for an image. Either `serve` names a handler of the shared server (`hello`, `hello-plain-text`,
    `netexec`, `coredns`, `pause`), or `entrypoint` + `cmd` is a real program, as in an OCI image: a container's
    `command` replaces both, its `args` replace `cmd` (for `serve` images `args` are the handler's arguments)."""

    serve: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()  # what it listens on by default, "80/TCP"; documentation only
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a container runs: a handler of the shared server with arguments, or a program's argv."""

    serve: str = ""
    argv: tuple[str, ...] = ()
