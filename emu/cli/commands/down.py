"""`emu down`."""

from __future__ import annotations

import click

from emu.cli.main import Context, complete_testbed
from emu.cli.testbeds import chosen
from emu.errors import InputError
from emu.kernel import runtime_dir


@click.command()
@click.argument("name", required=False, default="", shell_complete=complete_testbed)
@click.option("--all", "everything", is_flag=True, help="All that are running.")
@click.pass_obj
def down(context: Context, name: str, everything: bool) -> None:
    """Take a testbed down. Nothing of it is left.

    \b
    Examples:
      emu down
      emu down two-node-flannel-vxlan
      emu down --all

    \b
    Exit status: 0 it is gone, 2 no such testbed runs.
    """
    if everything and name:
        raise InputError("give a name or --all, not both")
    directory = runtime_dir.runtime_directory()
    names = [each.name for each in runtime_dir.running(directory)] if everything else [name or chosen(context.testbed)]
    for each in names:
        from emu.kernel import sandbox

        sandbox.stop(each, directory)
        click.echo(f"testbed {each} is down")
