"""`emu delete`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from emu.api import resources
from emu.cli import completing
from emu.cli.client import Client
from emu.cli.commands.apply import read
from emu.cli.main import Context, say
from emu.cli.targets import Target, namespace_option, parse
from emu.cli.testbeds import client
from emu.errors import EmuError, InputError

Found = tuple[Target, str]  # and its namespace


@click.command()
@click.argument("what", nargs=-1, metavar="KIND NAME…", shell_complete=completing.kind_then_names)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="What stands in a file or folder, or - for standard input.",
)
@namespace_option
@click.option("-l", "--selector", default="", help="Those with these labels.")
@click.option("--all", "everything", is_flag=True, help="All of the kind in the namespace.")
@click.option("--grace-period", type=int, default=None, metavar="SECONDS", help="Between SIGTERM and SIGKILL.")
@click.option("--now", is_flag=True, help="The same as --grace-period=1.")
@click.option("--wait/--no-wait", default=True, help="Return when they are gone. Default: wait.")
@click.option("--ignore-not-found", is_flag=True, help="What is not there counts as deleted.")
@click.pass_obj
def delete(
    context: Context,
    *,
    what: tuple[str, ...],
    files: tuple[Path, ...],
    namespace: str,
    selector: str,
    everything: bool,
    grace_period: int | None,
    now: bool,
    wait: bool,
    ignore_not_found: bool,
) -> int:
    """Delete objects. Pods get SIGTERM, their grace period, then SIGKILL.

    \b
    Examples:
      emu delete pod client
      emu delete deploy/web svc/web
      emu delete -f web.yaml
      emu delete pods -l app=web --now

    \b
    Exit status: 0, 2 no such object or kind.
    """
    if bool(what) == bool(files):
        raise InputError("give KIND NAME, or -f FILE", hint="emu delete pod client")
    server = client(context.testbed)
    given = _from_files(files) if files else list(_given(server, what, namespace, selector, everything))
    grace = 1 if now and grace_period is None else grace_period
    code, gone = 0, []
    for target, where in given:
        try:
            gone.append((target, where, _delete(server, target, where, grace)))
        except EmuError as error:
            if not (ignore_not_found and "(NotFound)" in error.message):
                code = error.exit_code
                say(error)
    for target, where, uid in gone if wait else ():
        _wait(server, target, where, uid)
    if not given:
        click.echo("No resources found", err=True)
    return code


def _from_files(files: tuple[Path, ...]) -> list[Found]:
    return [
        (Target(resources.BY_KIND[each.KIND], each.metadata.name), each.metadata.namespace)
        for each in read(files).objects
    ]


def _given(server: Client, what: tuple[str, ...], namespace: str, selector: str, everything: bool) -> Iterator[Found]:
    for target in parse(what):
        if target.name:
            yield target, namespace
        elif selector or everything:
            listed = server.get(target.path(namespace), {"labelSelector": selector})["items"]
            yield from ((Target(target.resource, each["metadata"]["name"]), namespace) for each in listed)
        else:
            raise InputError("resource(s) were provided, but no name was specified", hint="a name, -l or --all")


def _delete(server: Client, target: Target, namespace: str, grace: int | None) -> str:
    """The uid of what was deleted."""
    options: dict[str, Any] = {} if grace is None else {"gracePeriodSeconds": grace}
    answer = server.send("DELETE", target.path(namespace), options)
    click.echo(f'{target.resource.qualified} "{target.name}" deleted')
    uid: str = (answer.get("metadata") or {}).get("uid") or (answer.get("details") or {}).get("uid", "")
    return uid


def _wait(server: Client, target: Target, namespace: str, uid: str) -> None:
    """Until that very object is gone: one of the same name may have followed."""
    query = {"fieldSelector": f"metadata.name={target.name}"}
    listed = server.get(target.resource.path(namespace), query)
    if all(each["metadata"]["uid"] != uid for each in listed["items"]):
        return
    version = {"resourceVersion": listed["metadata"]["resourceVersion"]}
    for event in server.watch(target.resource.path(namespace), {**query, **version}):
        if event["type"] == "DELETED" or event["object"]["metadata"]["uid"] != uid:
            return
