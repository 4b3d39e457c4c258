"""Data on stdout, in the forms kubectl has."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from emu.errors import EmuError, InputError

PADDING, NARROWEST = 3, 6  # of kubectl's tables


def lines(values: Iterable[str]) -> None:
    for value in values:
        click.echo(value)


def table(rows: Sequence[Sequence[str]], widths: list[int] | None = None) -> list[int]:
    """Three spaces between columns. `widths`: of a table that goes on (watch); they only grow. Returns them."""
    widths = widths or []
    for row in rows:
        widths += [0] * (len(row) - len(widths))
        for index, cell in enumerate(row[:-1]):
            widths[index] = max(widths[index], len(cell) + PADDING, NARROWEST)
    for row in rows:
        click.echo("".join(cell.ljust(widths[index]) for index, cell in enumerate(row[:-1])) + row[-1])
    return widths


def as_json(document: Any) -> str:
    """As kubectl writes it: sorted, four spaces, and safe inside HTML, as Go's encoder does."""
    text = json.dumps(document, indent=4, sort_keys=True, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def color() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


@contextmanager
def written(path: Path) -> Iterator[int]:
    """Its descriptor, for what a command writes; `-` is standard output."""
    if str(path) == "-":
        sys.stdout.flush()
        yield 1
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def make(folder: Path) -> None:
    """For what a command keeps."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmuError(f"{folder} cannot be made: {error.strerror}") from error
