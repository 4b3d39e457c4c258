"""`emu plan`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from emu.cli import starting
from emu.cli.main import Context
from emu.cli.testbeds import client

NOW = "2000-01-01T00:00:00Z"  # of objects that are not there yet; nothing in a plan depends on it


@click.command()
@click.argument("topology", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "form", type=click.Choice(["script", "json"]), default="script", help="How to print it."
)
@click.pass_obj
def plan(context: Context, topology: Path | None, form: str) -> None:
    """Show what a cluster is made of, as a script.

    Links, addresses, routes and rules, as commands that can be read and run.

    With TOPOLOGY nothing is started and no privilege is needed: it is the plan once all Pods are ready. Without, it
    is the plan of the running testbed.

    \b
    Examples:
      emu plan topologies/two-node-flannel-vxlan
      emu plan topologies/two-node-flannel-vxlan -o json
      emu plan | grep flannel

    \b
    Exit status: 0, 2 a file is wrong, or cannot be built.
    """
    if topology is None:
        text = client(context.testbed).text("/emu/v1/plan", {"output": form})
    else:
        text = _planned(topology, form)
    click.echo(text, nl=False)


def _planned(topology: Path, form: str) -> str:
    loaded = starting.load(topology)
    from emu import planners
    from emu.api import images
    from emu.cluster.expected import expected
    from emu.kernel import programs
    from emu.report.plan import plan_text

    registry = images.load_registry(loaded.topology.images)
    manifests = loaded.manifests
    cluster = expected(loaded.topology, manifests.objects, registry, NOW, manifests.places)
    for warning in cluster.warnings:
        click.echo(f"warning: {warning}", err=True)
    return plan_text(planners.build(replace(cluster, ipip_module=programs.has_module())), form)
