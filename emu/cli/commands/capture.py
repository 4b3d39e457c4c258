"""`emu capture`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from emu.api import resources
from emu.cli import attached, completing, output
from emu.cli.client import Client
from emu.cli.main import Context
from emu.cli.packets import Counter
from emu.cli.targets import namespace_option
from emu.cli.testbeds import client
from emu.errors import InputError


@click.command()
@click.argument("points", nargs=-1, shell_complete=completing.pods_and_nodes)
@click.option(
    "-w",
    "--write",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    help="The pcapng file, or - for standard output.",
)
@click.option("-l", "--selector", default="", help="The Pods with these labels.")
@click.option("--duration", type=float, metavar="SECONDS", help="End by itself after that time.")
@click.option("--count", type=click.IntRange(min=1), metavar="PACKETS", help="End by itself after so many packets.")
@namespace_option
@click.pass_obj
def capture(
    context: Context,
    *,
    points: tuple[str, ...],
    write: Path,
    selector: str,
    duration: float | None,
    count: int | None,
    namespace: str,
) -> None:
    """Record packets at many points at once, in one file.

    All points start together and share one clock; each is an interface of the file. Pods that come later join in.

    POINTS are pod/NAME, NS/NAME, node/NAME, node1:cni0, fabric, or all (the default). It ends with Ctrl-C.

    \b
    Examples:
      emu capture -w all.pcapng
      emu capture pod/client node1:flannel.1 -w path.pcapng --duration 10
      emu capture -l app=web -w web.pcapng --count 100
      emu capture all -w - | wireshark -k -i -

    \b
    Exit status: 0, 2 no such point, 4 the file could not be written.
    """
    server = client(context.testbed)
    selectors = [*points, *_labelled(server, selector, namespace)] if selector else list(points)
    if str(write) == "-" and sys.stdout.isatty():
        raise InputError("packets on a terminal are of no use", hint="pipe them: emu capture -w - | wireshark -k -i -")
    with output.written(write) as file:
        session = Session(server, selectors, file, count)
        drops = session.run(duration)
    _report(session, drops)


def _labelled(server: Client, selector: str, namespace: str) -> Sequence[str]:
    listed = server.get(resources.BY_KIND["Pod"].path(namespace), {"labelSelector": selector})["items"]
    if not listed:
        raise InputError(
            f"no Pod in namespace {namespace} has the labels {selector}", hint="emu get pods --show-labels"
        )
    return [f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in listed]


class Session:
    """One capture. The packets come through a pipe, to be counted on their way to the file."""

    def __init__(self, server: Client, selectors: Sequence[str], file: int, most: int | None) -> None:
        reading, writing = os.pipe()
        self._attachment = attached.Attachment(server, {"do": "capture", "selectors": selectors}, [writing])
        os.close(writing)
        self.counter = Counter(file, most)
        self._copier = threading.Thread(target=self._copy, args=(reading,), daemon=True)
        self._copier.start()

    def _copy(self, reading: int) -> None:
        """Until the recorder has closed the pipe. When the file takes no more, or holds enough, it is told to end."""
        with open(reading, "rb", buffering=0) as pipe:
            while data := pipe.read(1 << 16):
                if not self.counter.take(data):
                    self._attachment.end()
                    return

    def run(self, duration_s: float | None) -> dict[str, int]:
        """Drops by point."""
        timer = threading.Timer(duration_s, self._attachment.end) if duration_s is not None else None
        try:
            drops: dict[str, int] = self._result(timer)
        except KeyboardInterrupt:
            self._attachment.end()
            drops = self._attachment.result()
        finally:
            if timer:
                timer.cancel()
        self._copier.join()
        return drops

    def _result(self, timer: threading.Timer | None) -> Any:
        def started(points: Sequence[str]) -> None:
            click.echo(f"recording at {len(points)} points; Ctrl-C ends it", err=True)
            if timer:
                timer.start()

        return self._attachment.result(started=started)


def _report(session: Session, drops: dict[str, int]) -> None:
    counter = session.counter
    for name, packets in counter.by_point().items():
        lost = f", {drops[name]} dropped" if drops.get(name) else ""
        if packets or lost:
            click.echo(f"{packets:8} {name}{lost}", err=True)
    click.echo(f"{counter.packets:8} packets, {sum(drops.values())} dropped", err=True)
