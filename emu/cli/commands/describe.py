"""`emu describe`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from emu.cli import completing
from emu.cli.client import Client
from emu.cli.main import Context
from emu.cli.targets import Target, namespace_options, parse
from emu.cli.testbeds import client
from emu.errors import EmuError


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="KIND [NAME]…", shell_complete=completing.kind_then_names)
@namespace_options
@click.option("-l", "--selector", default="", help="Only those with these labels.")
@click.pass_obj
def describe(context: Context, what: tuple[str, ...], namespace: str, all_namespaces: bool, selector: str) -> None:
    """Tell all about an object, as kubectl describe does. A name may be the beginning of one.

    \b
    Examples:
      emu describe endpoints nginx-svc
      emu describe pod/client
      emu describe pods -l app=web
      emu describe node node1

    \b
    Exit status: 0, 2 no such object or kind.
    """
    server = client(context.testbed)
    where = "" if all_namespaces else namespace
    found = [each for target in parse(what) for each in _found(server, target, where, selector)]
    texts = [server.text("/emu/v1/describe", each) for each in found]
    click.echo("\n\n".join(texts) if texts else "No resources found", nl=False)


def _found(server: Client, target: Target, namespace: str, selector: str) -> Iterator[dict[str, str]]:
    """kind, namespace and name of what is meant."""
    for where, name in _named(server, target, namespace) or _beginning(server, target, namespace, selector):
        yield {
            "kind": target.resource.singular,
            "namespace": where if target.resource.namespaced else "",
            "name": name,
        }


def _named(server: Client, target: Target, namespace: str) -> Sequence[tuple[str, str]]:
    """The object of that very name. Raises what the server says when there is none and no other begins so."""
    try:
        return [(namespace, target.name)] if target.name and server.get(target.path(namespace)) else []
    except EmuError:
        if not _beginning(server, target, namespace, ""):
            raise
        return []


def _beginning(server: Client, target: Target, namespace: str, selector: str) -> Sequence[tuple[str, str]]:
    listed = server.get(target.resource.path(namespace), {"labelSelector": selector})["items"]
    metas = [each["metadata"] for each in listed]
    return [(meta.get("namespace", ""), meta["name"]) for meta in metas if meta["name"].startswith(target.name)]
