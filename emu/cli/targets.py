"""What a user names on the command line: KIND NAME…, KIND/NAME…, KIND,KIND, a namespace, a label selector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from emu.api import resources
from emu.api.resources import Resource
from emu.cli.client import Client
from emu.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """`name` "": all of the kind."""

    resource: Resource
    name: str = ""

    def path(self, namespace: str) -> str:
        return self.resource.path(namespace, self.name)

    @property
    def title(self) -> str:
        return f"{self.resource.qualified}/{self.name}"


def parse(words: Sequence[str]) -> list[Target]:
    """`pods`, `pods web-1 web-2`, `po,svc`, `all`, `pod/web-1 svc/web`."""
    if not words:
        raise InputError("say which kind", hint="for example: emu get pods; emu get all")
    if any("/" in word for word in words):
        return [_slashed(word) for word in words]
    kinds = _kinds(words[0])
    if len(words) == 1:
        return [Target(kind) for kind in kinds]
    return [Target(kind, name) for kind in kinds for name in words[1:]]


def _kinds(word: str) -> list[Resource]:
    found: list[Resource] = []
    for name in word.split(","):
        if name == "all":
            found += [each for each in resources.RESOURCES if each.in_all]
        else:
            found.append(resources.of_name(name))
    return list(dict.fromkeys(found))


def _slashed(word: str) -> Target:
    kind, slash, name = word.partition("/")
    if not (kind and slash and name):
        raise InputError(
            "there is no need to specify a resource type as a separate argument when passing arguments in "
            "resource/name form"
            if not slash
            else f"{word} is not KIND/NAME",
            hint="for example: emu get pod/web deploy/web",
        )
    return Target(resources.of_name(kind), name)


def pods_meant(server: Client, word: str, namespace: str) -> list[str]:
    """The names of the Pods that POD, pod/POD or KIND/NAME (deploy/web, svc/web …) stands for, those that are ready
    first."""
    kind, slash, name = word.partition("/")
    resource = resources.of_name(kind) if slash else resources.BY_KIND["Pod"]
    if resource.kind == "Pod":
        return [name or word]
    spec = server.get(resource.path(namespace, name)).get("spec", {})
    selector = spec.get("selector") or {}
    labels = selector if resource.kind == "Service" else selector.get("matchLabels", {})
    if not labels or selector.get("matchExpressions"):
        raise InputError(f"{word} does not say by labels alone which Pods it means", hint="name one of its Pods")
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
    found = server.get(resources.BY_KIND["Pod"].path(namespace), query)["items"]
    if not found:
        raise InputError(f"{word} has no Pods")
    return [each["metadata"]["name"] for each in sorted(found, key=lambda each: not _ready(each))]


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def namespace_options(command: F) -> F:
    """-n and -A."""
    command = click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")(command)
    return namespace_option(command)


def namespace_option(command: F) -> F:
    return click.option(
        "-n", "--namespace", default="default", metavar="NS", help="Namespace.", shell_complete=_complete_namespace
    )(command)


def _complete_namespace(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from emu.cli import completing

    return completing.names(ctx, "namespaces", incomplete)
