"""`emu trace`."""

from __future__ import annotations

from pathlib import Path

import click

from emu.cli import attached, completing, output
from emu.cli.main import Context
from emu.cli.progress import Progress
from emu.cli.testbeds import client
from emu.errors import InputError


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("source", shell_complete=completing.ends)
@click.argument("target", shell_complete=completing.ends)
@click.argument("command", nargs=-1, metavar="[-- COMMAND…]", type=click.UNPROCESSED)
@click.option("--udp", is_flag=True, help="A UDP datagram. Default: TCP with a port, else ICMP echo.")
@click.option("--icmp", is_flag=True, help="An ICMP echo request.")
@click.option("-4", "ipv4", is_flag=True, help="To the target's IPv4 address. Default: its first one.")
@click.option("-6", "ipv6", is_flag=True, help="To its IPv6 address.")
@click.option("--size", type=int, metavar="BYTES", help="Of the echo's or datagram's payload, as ping -s has it.")
@click.option("--df", is_flag=True, help='Set "don\'t fragment".')
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.option("-w", "--write", type=click.Path(path_type=Path, dir_okay=False), help="Keep the packets as pcapng.")
@click.pass_obj
def trace(
    context: Context,
    *,
    source: str,
    target: str,
    command: tuple[str, ...],
    udp: bool,
    icmp: bool,
    ipv4: bool,
    ipv6: bool,
    size: int | None,
    df: bool,
    form: str,
    write: Path | None,
) -> int:
    """Follow one request hop by hop, beside its prediction.

    SOURCE is a Pod, namespace/Pod, or a node. TARGET is one of these, a Service, namespace/Service, or an address,
    with :PORT where it has one. COMMAND, run in the source, is followed instead of a request of our own. With --size
    one that may be too long for a link on the way: an IPv4 packet has 28 bytes more than its payload, an IPv6 packet
    48. The MTU of the source's own route counts over IPv4, as with ping -M do.

    \b
    Examples:
      emu trace client web:80
      emu trace client 10.96.0.10:53 --udp
      emu trace node1 client2 --icmp -w ping.pcapng
      emu trace client client2 -6
      emu trace client client2 --size 1472 --df
      emu trace client web:80 -- curl -s http://web/hostname

    \b
    Exit status: 0 the path was a predicted one, 1 it was not, 2 no such source or target.
    """
    if udp and icmp:
        raise InputError("--udp and --icmp exclude each other")
    if command and size is not None:
        raise InputError("--size is of our own request, and COMMAND sends another")
    if ipv4 and ipv6:
        raise InputError("-4 and -6 exclude each other")
    proto = "udp" if udp else "icmp" if icmp else ""
    request = {
        "do": "trace",
        "source": source,
        "target": target,
        "command": command,
        "proto": proto,
        "family": 4 if ipv4 else 6 if ipv6 else 0,
        "size": size,
        "df": df,
        "color": output.color(),
    }
    server = client(context.testbed)
    with Progress() as progress:
        progress("sending and watching")
        if write:
            with output.written(write) as file:
                answer = attached.Attachment(server, request, [file]).result(progress)
        else:
            answer = attached.Attachment(server, request, []).result(progress)
    click.echo(answer[form], nl=False)
    return 0 if answer["ok"] else 1
