"""`emu check`."""

from __future__ import annotations

import json

import click

from emu.cli.main import Context
from emu.cli.progress import Progress
from emu.cli.testbeds import client


@click.command()
@click.option("--repair", is_flag=True, help="Make the kernel what the plan says.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.pass_obj
def check(context: Context, repair: bool, form: str) -> int:
    """Compare what the kernel has with what the plan says.

    \b
    Examples:
      emu check
      emu exec node/node1 -- ip route del 10.244.2.0/24 ; emu check ; emu check --repair

    \b
    Exit status: 0 no difference (or all mended), 1 there is one.
    """
    server = client(context.testbed)
    with Progress() as progress:
        progress("reading the kernel")
        answer = server.send("POST", "/emu/v1/check", {"repair": repair})
        drifts, expected = answer["drifts"], answer["expected"]
        left = server.send("POST", "/emu/v1/check", {})["drifts"] if repair and drifts else drifts
    if form == "json":
        found = {"drifts": drifts, "left": left if repair else drifts, "expected": expected}
        click.echo(json.dumps(found, indent=2))
        return 1 if left else 0
    for each in drifts:
        click.echo(each["text"] + ("  (repaired)" if repair and each not in left else ""))
    for line in expected:
        click.echo(f"as planned: {line}")
    if not drifts:
        click.echo("the kernel is as planned")
    elif not repair:
        click.echo("hint: emu check --repair", err=True)
    return 1 if left else 0
