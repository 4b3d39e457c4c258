"""`emu exec`."""

from __future__ import annotations

import click

from emu.api import resources
from emu.cli import attached, completing
from emu.cli.client import Client
from emu.cli.main import Context
from emu.cli.targets import namespace_option, pods_meant
from emu.cli.testbeds import client
from emu.errors import InputError


class _Command(click.Command):
    """With `--` all before it is ours, behind the name too, as with kubectl. Without, the program's words begin behind
    the name, and none of them is taken for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_interspersed_args = "--" in args
        return super().parse_args(ctx, args)


@click.command(cls=_Command)
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="A terminal of its own (with -i, from a terminal).")
@click.option("-c", "--container", default="", help="Which container's environment. Default: the first.")
@namespace_option
@click.argument("target", metavar="POD|KIND/NAME|node/NODE", shell_complete=completing.pods_and_nodes)
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND…", type=click.UNPROCESSED)
@click.pass_obj
def exec(
    context: Context,
    *,
    stdin: bool,
    tty: bool,
    container: str,
    namespace: str,
    target: str,
    command: tuple[str, ...],
) -> int:
    """Run a program in a Pod, or on a Node.

    \b
    Examples:
      emu exec client -- curl -s web
      emu exec -it client -- bash
      emu exec node/node1 -- ip route
      emu exec deploy/web -- hostname
      emu exec client -c netshoot -- env
      emu exec -i client -- tee /tmp/x < file

    \b
    Exit status: the program's own; 127 no such program, 2 no such Pod.
    """
    argv = command[1:] if command[:1] == ("--",) else command
    if not argv:
        raise InputError("you must specify at least one command for the container")
    server = client(context.testbed)
    request = {
        "do": "exec",
        "target": name(server, target, namespace),
        "argv": argv,
        "container": container,
    }
    return attached.terminal(server, request) if tty else attached.direct(server, request, stdin=stdin)


def name(server: Client, target: str, namespace: str) -> str:
    """A Node's or router's, or NAMESPACE/POD."""
    kind, slash, rest = target.partition("/")
    if kind in ("node", "nodes", "no", "router") and slash:
        return rest
    if slash and not _is_kind(kind):
        return target
    return f"{namespace}/{pods_meant(server, target, namespace)[0]}"


def _is_kind(word: str) -> bool:
    try:
        return bool(resources.of_name(word))
    except InputError:
        return False
