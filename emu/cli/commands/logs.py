"""`emu logs`."""

from __future__ import annotations

import os
import sys

import click

from emu.api import resources
from emu.cli import completing
from emu.cli.main import Context
from emu.cli.targets import namespace_option, pods_meant
from emu.cli.testbeds import client


@click.command()
@click.argument("pod", metavar="POD|KIND/NAME", shell_complete=completing.pods)
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("-c", "--container", default="", help="Which container. Default: the first.")
@click.option("-p", "--previous", is_flag=True, help="Of its run before the last restart.")
@click.option("--tail", type=click.IntRange(min=-1), default=-1, help="Only so many of the last lines.")
@namespace_option
@click.pass_obj
def logs(
    context: Context, *, pod: str, follow: bool, container: str, previous: bool, tail: int, namespace: str
) -> None:
    """Print what a container has written.

    \b
    Examples:
      emu logs web-669bbf47f4-cr6zg
      emu logs -f --tail 10 client
      emu logs deploy/web
      emu logs crashing --previous

    \b
    Exit status: 0, 2 no such Pod or container.
    """
    query = {
        "container": container,
        "previous": "true" if previous else "",
        "follow": "true" if follow else "",
        "tailLines": "" if tail < 0 else str(tail),
    }
    server = client(context.testbed)
    first, *others = pods_meant(server, pod, namespace)
    if others:
        click.echo(f"Found {1 + len(others)} pods, using pod/{first}", err=True)
    path = resources.BY_KIND["Pod"].path(namespace, first)
    sys.stdout.flush()
    for data in server.stream(f"{path}/log", query):
        while data:
            data = data[os.write(1, data) :]
