"""`emu ls`."""

from __future__ import annotations

import json
from typing import Any

import click

from emu.cli import output
from emu.cli.client import Client
from emu.errors import EmuError
from emu.kernel import runtime_dir

TIMEOUT_S = 2


@click.command()
@click.option("-o", "form", type=click.Choice(["table", "json", "name"]), default="table", help="How to print it.")
def ls(form: str) -> None:
    """List the testbeds that are running.

    \b
    Examples:
      emu ls
      emu ls -o name

    \b
    Exit status: 0, also when there is none.
    """
    found = [_row(each) for each in runtime_dir.running(runtime_dir.runtime_directory())]
    if form == "json":
        click.echo(json.dumps(found, indent=2))
    elif form == "name":
        output.lines(each["name"] for each in found)
    elif found:
        columns = ("name", "state", "nodes", "pods", "cni", "proxy", "pid")
        output.table([[name.upper() for name in columns], *([str(each[name]) for name in columns] for each in found)])
    else:
        click.echo("No testbed is running.", err=True)


def _row(testbed: runtime_dir.TestbedInfo) -> dict[str, Any]:
    """What it says of itself; a testbed that starts, or does not answer, is listed all the same."""
    row: dict[str, Any] = {"name": testbed.name, "state": "starting", "pid": testbed.pid}
    unknown = dict.fromkeys(("nodes", "pods", "services", "cni", "proxy"), "")
    if not testbed.ready:
        return {**row, **unknown}
    try:
        said = Client(testbed.name, testbed.directory.parent, TIMEOUT_S).get("/emu/v1/status")
    except EmuError:
        return {**row, **unknown, "state": "no answer"}
    return {**row, **said, "state": "ready"}
