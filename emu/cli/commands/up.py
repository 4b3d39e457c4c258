"""`emu up`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from emu.cli import starting
from emu.cli.main import Context
from emu.cli.testbeds import client
from emu.errors import InputError


@click.command()
@click.argument("topology", type=click.Path(path_type=Path))
@click.option("-i", "--interactive", is_flag=True, help="Give the Mininet prompt, and take the testbed down after it.")
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C; the log goes to the terminal.")
@click.option("--name", default="", help="Name of the testbed. Default: the topology's.")
@click.pass_obj
def up(context: Context, topology: Path, interactive: bool, foreground: bool, name: str) -> int:
    """Bring a cluster up; return when all of it is ready.

    TOPOLOGY is a topology file, or a folder with a topology.yaml and its manifests/. Everything is checked before
    anything is started: a mistake in a file is named with its line, and nothing is half-done.

    \b
    Examples:
      emu up topologies/two-node-flannel-vxlan
      emu up topologies/two-node-flannel-vxlan -i       with the Mininet prompt: mininet> node1 ip route
      emu up topology.yaml --name second                beside another of the same topology
      emu up topology.yaml --foreground                 in CI or under systemd

    \b
    Exit status: 0 it is up, 2 a file is wrong, 3 this machine cannot do it, 4 the kernel refused.
    """
    if interactive and foreground:
        raise InputError("-i and --foreground exclude each other")
    started = time.monotonic()
    loaded = starting.load(topology, name)
    if interactive:
        with starting.tied(context, loaded):
            _tell(loaded, started)
            return _prompt(loaded.name)
    starting.launch(context, loaded, foreground=foreground)
    if foreground:
        return 0
    _tell(loaded, started)
    if sys.stdout.isatty():
        click.echo("emu get pods -A -o wide; emu verify; emu down", err=True)
    return 0


def _tell(loaded: starting.Loaded, started: float) -> None:
    click.echo(f"testbed {loaded.name} is up: {describe(loaded)}, {time.monotonic() - started:.1f} s")
    status = client(loaded.name).get("/emu/v1/status")
    for warning in status["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    for line in status["expected"]:
        click.echo(f"note: {line}", err=True)


def describe(loaded: starting.Loaded) -> str:
    nodes: Any = loaded.topology.nodes
    cni, proxy = loaded.topology.cni.mode, loaded.topology.proxy.mode
    served = {"none": "no proxy", cni: "its own proxy"}.get(proxy, f"kube-proxy {proxy}")
    return f"{len(nodes)} nodes, {cni}, {served}"


def _prompt(name: str) -> int:
    from emu.cli import attached

    return attached.prompt(client(name))
