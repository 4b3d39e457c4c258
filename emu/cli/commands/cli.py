"""`emu cli`."""

from __future__ import annotations

import click

from emu.cli import attached
from emu.cli.main import Context
from emu.cli.testbeds import client


@click.command()
@click.option("-c", "--command", default=None, metavar="LINES", help="Run these lines instead of a prompt.")
@click.pass_obj
def cli(context: Context, command: str | None) -> int:
    """The Mininet prompt: Nodes and Pods by their names.

    \b
    Examples:
      emu cli
      mininet> node1 ip route
      mininet> client ping -c 1 client2
      emu cli -c 'links'

    \b
    Exit status: 0, with -c that of the last line.
    """
    server = client(context.testbed)
    if command is None:
        return attached.prompt(server)
    return attached.direct(server, {"do": "prompt", "script": command}, stdin=True)
