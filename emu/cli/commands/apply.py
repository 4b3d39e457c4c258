"""`emu apply`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from emu.cli.main import Context
from emu.cli.starting import tell_ignored
from emu.cli.testbeds import client
from emu.errors import InputError


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file, a folder, or - for standard input.",
)
@click.pass_obj
def apply(context: Context, files: tuple[Path, ...]) -> None:
    """Create objects, or change them to what files say.

    All that is given is one step: if one object is wrong, nothing changes.

    \b
    Examples:
      emu apply -f topologies/two-node-flannel-vxlan/manifests
      emu apply -f web.yaml -f service.yaml
      kubectl create deployment x --image nginx --dry-run=client -o yaml | emu apply -f -

    \b
    Exit status: 0, 2 a file is wrong.
    """
    loaded = read(files)
    tell_ignored(loaded.ignored)
    if not loaded.objects:
        raise InputError("no objects passed to apply")
    answer = client(context.testbed).send("POST", "/emu/v1/apply", _body(loaded))
    for each in answer["applied"]:
        click.echo(f"{each['name']} {each['word']}")
    for warning in answer["warnings"]:
        click.echo(f"warning: {warning}", err=True)


def read(files: tuple[Path, ...]) -> Any:
    """Every file of them, standard input too, as `load.Loaded`."""
    from emu.api import load

    if Path("-") not in files:
        return load.manifests(files)
    if len(files) > 1:
        raise InputError("- stands alone: give files or standard input, not both")
    return load.parse_manifests(sys.stdin.read(), "standard input")


def _body(loaded: Any) -> dict[str, Any]:
    from emu.api import codec
    from emu.api.objects import key_of

    places = [loaded.places[key_of(each)] for each in loaded.objects]
    return {
        "objects": [codec.encode(each) for each in loaded.objects],
        "places": [[place.file, place.line] for place in places],
    }
