"""`emu get`: what kubectl prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from emu.api.resources import Resource
from emu.cli import completing, output
from emu.cli.client import Client
from emu.cli.main import Context, say
from emu.cli.targets import Target, namespace_options, parse
from emu.cli.testbeds import client
from emu.errors import EmuError, InputError

FORMS = ("table", "wide", "json", "yaml", "name")


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="KIND [NAME]…", shell_complete=completing.kind_then_names)
@namespace_options
@click.option("-o", "--output", "form", type=click.Choice(FORMS), default="table", help="How to print it.")
@click.option("-l", "--selector", default="", help="Only those with these labels: app=web,tier!=db")
@click.option("--field-selector", default="", help="Only those with these fields: spec.nodeName=node1")
@click.option("--show-labels", is_flag=True, help="A column with the labels.")
@click.option("--no-headers", is_flag=True, help="Without the line of column names.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and print each change.")
@click.pass_obj
def get(
    context: Context,
    *,
    what: tuple[str, ...],
    namespace: str,
    all_namespaces: bool,
    form: str,
    selector: str,
    field_selector: str,
    show_labels: bool,
    no_headers: bool,
    watch: bool,
) -> int:
    """Show objects: what kubectl get prints.

    KIND is pods, services, endpoints, endpointslices, deployments, replicasets, daemonsets, nodes, namespaces, or a
    short name (po svc ep deploy rs ds no ns), several with commas, or all.

    \b
    Examples:
      emu get pods -A -o wide
      emu get deploy,svc
      emu get endpoints nginx-svc -o yaml
      emu get pods -l app=nginx -w

    \b
    Exit status: 0, 2 no such object or kind.
    """
    targets = parse(what)
    asked = Asked(
        server=client(context.testbed),
        namespace="" if all_namespaces else namespace,
        query={"labelSelector": selector, "fieldSelector": field_selector},
        form=form,
        show_labels=show_labels,
        headers=not no_headers,
    )
    if any(each.name for each in targets) and (selector or field_selector or all_namespaces):
        raise InputError("a name excludes -l, --field-selector and -A")
    if watch:
        return _watch(asked, targets)
    return _tables(asked, targets) if form in ("table", "wide") else _documents(asked, targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, and how to ask the server for it. `namespace` "": all."""

    server: Client
    namespace: str
    query: Mapping[str, str]
    form: str
    show_labels: bool
    headers: bool

    def path(self, target: Target) -> str:
        return target.path(self.namespace)

    def get(self, target: Target, *, table: bool = False) -> Any:
        return self.server.get(self.path(target), None if target.name else self.query, table=table)

    def nothing(self) -> None:
        where = f" in {self.namespace} namespace" if self.namespace else ""
        click.echo(f"No resources found{where}" + ("." if where else ""), err=True)


def _tables(asked: Asked, targets: Sequence[Target]) -> int:
    """One table a kind; several kinds are told apart by a prefix and an empty line."""
    kinds = list(dict.fromkeys(each.resource for each in targets))
    code, printed = 0, 0
    for kind in kinds:
        got: list[dict[str, Any]] = []
        for target in (each for each in targets if each.resource is kind):
            try:
                got.append(asked.get(target, table=True))
            except EmuError as error:
                code = error.exit_code
                say(error)
        rows = [row for each in got for row in each["rows"]]
        if rows:
            if printed:
                click.echo()
            printed += 1
            prefix = f"{kind.qualified}/" if len(kinds) > 1 else ""
            output.table(_rows(asked, {**got[0], "rows": rows}, kind, prefix, asked.headers))
    if not printed and not code:
        asked.nothing()
    return code


def _rows(
    asked: Asked, table: Mapping[str, Any], kind: Resource, prefix: str = "", headers: bool = True
) -> list[list[str]]:
    """The table's cells as they are shown, the column names first."""
    columns = table["columnDefinitions"]
    shown = [index for index, each in enumerate(columns) if asked.form == "wide" or each["priority"] == 0]
    with_namespace = not asked.namespace and kind.namespaced
    names = ["NAMESPACE"] * with_namespace + [columns[index]["name"].upper() for index in shown]
    rows = [names + ["LABELS"] * asked.show_labels] if headers else []
    for row in table["rows"]:
        meta = row["object"]["metadata"]
        cells = [str(row["cells"][index]) for index in shown]
        cells[0] = prefix + cells[0]
        labels = [_labels(meta)] if asked.show_labels else []
        rows.append([meta.get("namespace", "")] * with_namespace + cells + labels)
    return rows


def _labels(meta: dict[str, Any]) -> str:
    labels = meta.get("labels") or {}
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or "<none>"


def _documents(asked: Asked, targets: Sequence[Target]) -> int:
    """One object by its name is printed as it is; everything else as a List."""
    code = 0
    found: list[tuple[Target, dict[str, Any]]] = []
    for target in targets:
        try:
            document = asked.get(target)
        except EmuError as error:
            code = error.exit_code
            say(error)
            continue
        if target.name:
            found.append((target, document))
            continue
        kind = {"apiVersion": target.resource.api_version, "kind": target.resource.kind}
        found += [(target, {**kind, **item}) for item in document["items"]]
    if asked.form == "name":
        output.lines(f"{target.resource.qualified}/{each['metadata']['name']}" for target, each in found)
    elif found or not code:
        _whole(asked, [each for _, each in found], single=len(targets) == 1 and bool(targets[0].name))
    return code


def _whole(asked: Asked, found: list[dict[str, Any]], *, single: bool) -> None:
    many = {"apiVersion": "v1", "items": found, "kind": "List", "metadata": {"resourceVersion": ""}}
    document = found[0] if single else many
    if asked.form == "json":
        click.echo(output.as_json(document))
        return
    from emu.cli.yamltext import as_yaml

    click.echo(as_yaml(document), nl=False)


def _watch(asked: Asked, targets: Sequence[Target]) -> int:
    if len(targets) != 1:
        raise InputError("-w watches one kind, or one object")
    target = targets[0]
    if asked.form not in ("table", "wide"):
        raise InputError(f"-w prints a table, not {asked.form}")
    path = target.resource.path(asked.namespace)
    query = {**asked.query, **({"fieldSelector": f"metadata.name={target.name}"} if target.name else {})}
    first = asked.get(target, table=True)
    rows = _rows(asked, first, target.resource, headers=asked.headers)
    widths = output.table(rows) if first["rows"] else []
    version = {"resourceVersion": first["metadata"]["resourceVersion"]}
    for event in asked.server.watch(path, {**query, **version}, table=True):
        rows = _rows(asked, event["object"], target.resource, headers=asked.headers and not widths)
        widths = output.table(rows, widths)
    return 0
