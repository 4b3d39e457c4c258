"""`emu verify`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from emu.cli import attached, output, starting
from emu.cli.client import Client
from emu.cli.main import Context, complete_testbed
from emu.cli.progress import Progress
from emu.cli.testbeds import client
from emu.kernel import runtime_dir

PACKETS = "all.pcapng"


@click.command()
@click.argument("topology", default="running", shell_complete=complete_testbed)
@click.option(
    "--output", "folder", type=click.Path(path_type=Path, file_okay=False), help="Keep packets, commands and report."
)
@click.option("-o", "form", type=click.Choice(["text", "json", "junit"]), default="text", help="How to print it.")
@click.option("--hops", is_flag=True, help="Print every path hop by hop. Default: those that are not as predicted.")
@click.pass_obj
def verify(context: Context, topology: str, folder: Path | None, form: str, hops: bool) -> int:
    """Prove every kind of path of a cluster with packets.

    TOPOLOGY is a topology file or folder: it is brought up if it does not run, and then taken down again. Without
    it (or with `running`), what runs is verified.

    \b
    Examples:
      emu verify topologies/two-node-flannel-vxlan
      emu verify topologies/two-node-flannel-vxlan --output captures/runs/demo --hops
      emu verify running -o junit > junit.xml

    \b
    --output leaves all.pcapng (every packet at every hop, for Wireshark), commands.sh (what was set up),
    result.json, junit.xml and report.html.

    \b
    Exit status: 0 every observed path is a predicted one, 1 one is not, 2 a file is wrong, 3 this machine cannot.
    """
    with _testbed(context, topology) as server:
        answer = _verify(server, folder, hops)
    click.echo(answer[form], nl=False)
    if folder:
        click.echo(f"kept in {folder}: {', '.join(sorted(each.name for each in folder.iterdir()))}", err=True)
    return 0 if answer["ok"] else 1


def _verify(server: Client, folder: Path | None, hops: bool) -> dict[str, Any]:
    request = {"do": "verify", "color": output.color(), "hops": hops}
    if folder is None:
        return _result(attached.Attachment(server, request, []))
    output.make(folder)
    with output.written(folder / PACKETS) as packets:
        answer = _result(attached.Attachment(server, request, [packets]))
    for name, text in answer["files"].items():
        (folder / name).write_text(text, encoding="utf-8")
    return answer


def _result(attachment: attached.Attachment) -> dict[str, Any]:
    with Progress() as progress:
        answer: dict[str, Any] = attachment.result(progress)
    return answer


@contextmanager
def _testbed(context: Context, topology: str) -> Iterator[Client]:
    """A testbed to talk to: one that runs stays, one that is started for this goes again."""
    directory = runtime_dir.runtime_directory()
    if topology == "running" or (runtime_dir.info(topology, directory) and not Path(topology).exists()):
        yield client(context.testbed if topology == "running" else topology)
        return
    loaded = starting.load(Path(topology))
    if runtime_dir.info(loaded.name, directory):
        yield client(loaded.name)
        return
    with starting.tied(context, loaded):
        yield client(loaded.name)
