"""`emu completion`."""

from __future__ import annotations

import click

FILES = {
    "bash": "~/.bashrc:  source <(emu completion bash)",
    "zsh": "~/.zshrc:  source <(emu completion zsh)",
    "fish": "~/.config/fish/completions/emu.fish:  emu completion fish | source",
}


@click.command()
@click.argument("shell", type=click.Choice(list(FILES)))
def completion(shell: str) -> None:
    """Print the completion for a shell.

    It completes commands, kinds, and the names of testbeds and objects.

    \b
    Examples:
      source <(emu completion bash)         in ~/.bashrc
      source <(emu completion zsh)          in ~/.zshrc
      emu completion fish | source          in ~/.config/fish/completions/emu.fish

    \b
    Exit status: 0.
    """
    from click.shell_completion import get_completion_class

    from emu.cli.main import emu

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(emu, {}, "emu", "_EMU_COMPLETE").source())
