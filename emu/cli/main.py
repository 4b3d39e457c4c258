"""The command line: `emu COMMAND`. Commands are imported when they are used, as `emu ls` should take no time."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from emu.cli.commands import SECTIONS
from emu.errors import EmuError

#: (topology, its manifests) → what the lab's first process runs. Given by the composition root.
Lab = Callable[[Any, Any], Callable[[Any], None]]

_MODULES = {command: module for _, entries in SECTIONS for command, module in entries}

LIKE_KUBECTL = ("get", "describe", "apply", "delete", "scale", "logs", "exec")
#: What else kubectl has.
KUBECTLS = frozenset(
    {
        "annotate", "api-resources", "api-versions", "attach", "auth", "autoscale", "certificate", "cluster-info",
        "config", "cordon", "cp", "create", "debug", "diff", "drain", "edit", "events", "explain", "expose",
        "kustomize", "label", "patch", "port-forward", "proxy", "replace", "rollout", "set", "taint", "top",
        "uncordon", "wait",
    }
)  # fmt: skip

EPILOG = """\
\b
Exit status: 0 all is well, 1 what was seen is not what was predicted (trace, verify, check),
2 your file or argument is wrong, 3 this machine cannot do it, 4 the kernel refused.
"""


@dataclass(frozen=True, slots=True)
class Context:
    """What every command can ask for."""

    testbed: str
    debug: bool
    lab: Lab | None


class Commands(click.Group):
    """A group whose commands are modules, loaded by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"emu.cli.commands.{_MODULES[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _MODULES and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]}{_instead(args[0])}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, _without_equals(rest) if name in LIKE_KUBECTL and name != "exec" else rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, entries in SECTIONS:
            rows = [(name, self._summary(ctx, name)) for name, _ in entries]
            with formatter.section(title):
                formatter.write_dl(rows, col_max=14)

    def _summary(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str(64) if command else ""


def _without_equals(args: list[str]) -> list[str]:
    """`-o=yaml`, which kubectl takes for `-o yaml`."""
    return [f"{each[:2]}{each[3:]}" if each[:1] == "-" and each[2:3] == "=" and each[3:] else each for each in args]


def _instead(name: str) -> str:
    from difflib import get_close_matches

    if name == "version":
        return ": emu --version"
    if name in KUBECTLS:
        return f", of kubectl's there are {', '.join(LIKE_KUBECTL)}"
    near = get_close_matches(name, _MODULES, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def complete_testbed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from emu.cli import completing

    return completing.testbeds(incomplete)


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    from importlib import metadata

    if not wanted:
        return
    try:
        click.echo(f"emu {metadata.version('kube-emu')}")
    except metadata.PackageNotFoundError:
        click.echo("emu, run from its source")
    ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.option(
    "-t",
    "--testbed",
    envvar="EMU_TESTBED",
    default="",
    metavar="NAME",
    help="The testbed to talk to. Default: the only one running.",
    shell_complete=complete_testbed,
)
@click.option("--debug", is_flag=True, help="Show where in the program an error comes from.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def emu(ctx: click.Context, testbed: str, debug: bool) -> None:
    """A whole Kubernetes network on one Linux kernel: real packets, followed hop by hop.

    \b
    emu up topologies/two-node-flannel-vxlan      bring a cluster up
    emu get pods -o wide                          look at it, as with kubectl
    emu trace client web:80                       follow one request, prove its path
    emu down                                      nothing is left
    """
    ctx.obj = Context(testbed, debug, ctx.obj)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(lab: Lab | None, args: list[str] | None = None) -> int:
    """The exit status. An EmuError is a message; anything else is a mistake of the program and shows where."""
    arguments = sys.argv[1:] if args is None else args
    debug = "--debug" in arguments or bool(os.environ.get("EMU_DEBUG"))
    try:
        result = emu.main(arguments, prog_name="emu", standalone_mode=False, obj=lab)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains once more while it ends
        return 0
    except EmuError as error:
        if debug:
            raise
        say(error)
        return error.exit_code


def say(error: EmuError) -> None:
    message = str(error)
    click.echo(message if message.startswith("Error from server") else f"error: {message}", err=True)
