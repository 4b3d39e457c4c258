"""`emu bpf`."""

from __future__ import annotations

import click

from emu.cli.main import Context
from emu.cli.testbeds import client

KINDS = ("endpoint", "ct", "lb", "ipcache")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("node", required=False, default="")
@click.pass_obj
def bpf(context: Context, kind: str, node: str) -> None:
    """List the eBPF maps of a Node, read from the kernel.

    As `cilium bpf KIND list` does in Cilium's agent: endpoint (its own Pods and addresses), ct (connections), lb
    (Services and their backends), ipcache (the identity of every address, and the Node to tunnel to). Without NODE, of
    every Node that has them.

    \b
    Examples:
      emu bpf lb node1
      emu bpf ct | grep :80

    \b
    Exit status: 0, 2 the testbed has none: it is not `cni: cilium`.
    """
    click.echo(client(context.testbed).text("/emu/v1/bpf", {"kind": kind, "node": node}), nl=False)
