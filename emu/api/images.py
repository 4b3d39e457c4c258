"""Image name → local program. The shipped registry is `images.yaml` beside this file;
a topology's `images:` extends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from emu.api import codec, tree
from emu.api.objects import Container
from emu.api.wrong import Wrong, did_you_mean
from emu.errors import InputError, Place

SHIPPED = Path(__file__).with_name("images.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What stands for an image. Either `serve` names a handler of the shared server (`hello`, `hello-plain-text`,
    `netexec`, `coredns`, `pause`), or `entrypoint` + `cmd` is a real program, as in an OCI image: a container's
    `command` replaces both, its `args` replace `cmd` (for `serve` images `args` are the handler's arguments).

    An image whose first argument says what it does (agnhost) names a handler for each in `handlers`. A `command` that
    starts with the `entrypoint` of such an image means the handler too; any other is really run."""

    serve: str = ""
    handlers: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()  # what it listens on by default, "80/TCP"; documentation only
    description: str = ""

    @property
    def served(self) -> bool:
        return bool(self.serve or self.handlers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a container runs: a handler of the shared server with arguments, or a program's argv."""

    serve: str = ""
    argv: tuple[str, ...] = ()


def load_registry(extra: Mapping[str, object] | None = None, place: Place | None = None) -> Mapping[str, Image]:
    """The shipped images and `extra`, which may replace them, by `familiar` name."""
    return {**_shipped(), **_registry(extra or {}, place)}


@cache
def _shipped() -> Mapping[str, Image]:
    (node,) = tree.documents(SHIPPED.read_text(encoding="utf-8"), str(SHIPPED))
    return _registry(node, Place(str(SHIPPED)))


def _registry(node: Mapping[str, object], place: Place | None) -> Mapping[str, Image]:
    result = {}
    for name, value in node.items():
        where = Place(place.file, tree.line_of(node, (name,)) or place.line) if place else None
        if not isinstance(value, Mapping):
            raise InputError("must be a mapping with serve or entrypoint or cmd", place=where, subject=f"image {name}")
        try:
            image = codec.decode(Image, value, where)
        except InputError as error:
            raise InputError(error.what, place=error.place, subject=f"image {name}", hint=error.hint) from None
        if not (image.served or image.entrypoint or image.cmd):
            raise InputError("names no program: serve, entrypoint or cmd", place=where, subject=f"image {name}")
        result[familiar(name)] = image
    return result


def familiar(name: str) -> str:
    """The name without digest and what Docker adds by itself: `docker.io/library/nginx@sha256:…` is `nginx`."""
    name = name.strip().split("@")[0]
    for prefix in ("index.docker.io/", "docker.io/", "registry-1.docker.io/"):
        name = name.removeprefix(prefix)
    return name.removeprefix("library/")


def without_tag(name: str) -> str:
    """A colon before the last slash is a registry's port."""
    head, slash, tail = name.rpartition("/")
    return head + slash + tail.split(":")[0]


def find(name: str, registry: Mapping[str, Image]) -> Image:
    """The image with its tag, if the registry has it, else without. Raises Wrong for an unknown one."""
    known = familiar(name)
    image = registry.get(known) or registry.get(without_tag(known))
    if image is None:
        near = did_you_mean(without_tag(known), registry)
        hint = f"{near + ' ' if near else ''}add it to the topology's images: with the program that stands for it"
        raise Wrong(f"is {name}, which no program stands for", "image", hint=hint)
    return image


def program_for(container: Container, registry: Mapping[str, Image], place: Place | None = None) -> Program:
    """OCI semantics: `command` replaces entrypoint and cmd, `args` replace cmd. `$(NAME)` is not expanded here."""
    try:
        return program(container, registry)
    except Wrong as wrong:
        raise wrong.located(place, subject=f"container {container.name}") from None


def program(container: Container, registry: Mapping[str, Image]) -> Program:
    """As `program_for`, but raises Wrong with the path inside the container."""
    image = find(container.image, registry)
    if image.served:
        return _served(container, image)
    if container.command:
        return Program(argv=(*container.command, *container.args))
    return Program(argv=(*image.entrypoint, *(container.args or image.cmd)))


def _served(container: Container, image: Image) -> Program:
    own, given = image.entrypoint, container.command
    if given and (not own or given[: len(own)] != own):
        return Program(argv=(*given, *container.args))
    arguments = (*given[len(own) :], *container.args) or (() if given else image.cmd)
    if not image.handlers:
        return Program(serve=image.serve, argv=arguments)
    first = arguments[0] if arguments else ""
    if first not in image.handlers:
        names = ", ".join(sorted(image.handlers))
        what = f"ask {container.image} for {first or 'nothing'}, of which only {names} can be served"
        raise Wrong(what, "args" if container.args else "command", hint=did_you_mean(first, image.handlers))
    return Program(serve=image.handlers[first], argv=arguments[1:])
