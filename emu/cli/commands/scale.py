"""`emu scale`."""

from __future__ import annotations

import click

from emu.cli import completing
from emu.cli.main import Context
from emu.cli.targets import namespace_option, parse
from emu.cli.testbeds import client
from emu.errors import InputError


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="KIND NAME", shell_complete=completing.kind_then_names)
@click.option("--replicas", type=int, required=True, help="How many Pods there shall be.")
@namespace_option
@click.pass_obj
def scale(context: Context, what: tuple[str, ...], replicas: int, namespace: str) -> None:
    """Change the number of Pods of a Deployment or ReplicaSet.

    \b
    Examples:
      emu scale deployment web --replicas 5
      emu scale deploy/web --replicas 0

    \b
    Exit status: 0, 2 no such object, or not one that has replicas.
    """
    targets = parse(what)
    if any(not each.name for each in targets):
        raise InputError("say which", hint="emu scale deployment web --replicas 5")
    for target in targets:
        if not target.resource.scalable:
            raise InputError(f"a {target.resource.kind} has no replicas")
        path = f"{target.path(namespace)}/scale"
        client(context.testbed).send("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")
        click.echo(f"{target.title} scaled")
