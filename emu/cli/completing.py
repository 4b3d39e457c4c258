"""What the shell offers after TAB. It asks the testbed, with a short time-out, and offers nothing when that fails."""

from __future__ import annotations

from collections.abc import Sequence

import click

from emu.api import resources
from emu.cli import testbeds as running
from emu.errors import EmuError
from emu.kernel import runtime_dir

TIMEOUT_S = 0.5


def testbeds(incomplete: str) -> list[str]:
    try:
        found = runtime_dir.running(runtime_dir.runtime_directory())
    except EmuError:
        return []
    return _starting([each.name for each in found], incomplete)


def kinds(incomplete: str) -> list[str]:
    """The last of a comma-separated list."""
    before, comma, last = incomplete.rpartition(",")
    known = [*(each.plural for each in resources.RESOURCES), "all"]
    return [f"{before}{comma}{name}" for name in _starting(known, last)]


def names(ctx: click.Context, kind: str, incomplete: str) -> list[str]:
    """Of the objects of a kind, in the namespace given so far."""
    try:
        resource = resources.of_name(kind.partition(",")[0])
        namespace = "" if ctx.params.get("all_namespaces") else str(ctx.params.get("namespace") or "default")
        testbed = str(ctx.find_root().params.get("testbed") or "")
        listed = running.client(testbed, TIMEOUT_S).get(resource.path(namespace))
    except (EmuError, OSError, ValueError):
        return []
    return _starting([each["metadata"]["name"] for each in listed["items"]], incomplete)


def kind_then_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For `emu get KIND NAME…` and `KIND/NAME`."""
    words: Sequence[str] = ctx.params.get(param.name or "") or ()
    if "/" in incomplete:
        kind, _, start = incomplete.partition("/")
        return [f"{kind}/{name}" for name in names(ctx, kind, start)]
    return names(ctx, words[0], incomplete) if words else kinds(incomplete)


def pods(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return names(ctx, "pods", incomplete)


def deployments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return names(ctx, "deployments", incomplete)


def pods_and_nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    nodes = [f"node/{name}" for name in names(ctx, "nodes", incomplete.removeprefix("node/"))]
    return [*pods(ctx, param, incomplete), *_starting(nodes, incomplete)]


def ends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What a trace can start from or go to."""
    return [name for kind in ("pods", "services", "nodes") for name in names(ctx, kind, incomplete)]


def _starting(found: Sequence[str], incomplete: str) -> list[str]:
    return [each for each in found if each.startswith(incomplete)]
