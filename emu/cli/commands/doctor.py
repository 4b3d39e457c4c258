"""`emu doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from emu.cli import output
from emu.cli.progress import Progress

GOOD, BAD, WARN = "32", "31", "33"


@click.command()
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def doctor(form: str) -> int:
    """Try what this machine can do.

    A line per feature, and the remedy for what it cannot.

    \b
    Examples:
      emu doctor
      sudo emu doctor

    \b
    Exit status: 0 clusters can be brought up, 3 something needed is missing.
    """
    from emu.kernel import features

    with Progress() as progress:
        progress("trying features in a lab of their own")
        found = features.probe()
    if form == "json":
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        width = max(len(each.name) for each in found)
        for each in found:
            click.echo(_line(each.name, width, each.ok, each.needed, each.detail))
            if not each.ok and each.remedy:
                click.echo(f"{'':10}{'':{width}}  remedy: {each.remedy}")
    missing = [each.name for each in found if each.needed and not each.ok]
    if missing:
        click.echo(f"needed and missing: {', '.join(missing)}", err=True)
    return 3 if missing else 0


def _line(name: str, width: int, ok: bool, needed: bool, detail: str) -> str:
    word, color = ("ok", GOOD) if ok else ("MISSING", BAD) if needed else ("no", WARN)
    shown = f"\x1b[{color}m{word:8}\x1b[0m" if output.color() else f"{word:8}"
    return f"{shown}  {name:{width}}  {detail}".rstrip()
