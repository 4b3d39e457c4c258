"""What is wrong with a value, said by field path; the line is looked up only when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from emu.api import tree
from emu.errors import InputError, Place

Path = tuple[str | int, ...]


class Wrong(Exception):
    """`path` leads to the field, `what` goes on from its name: `("spec", "ports", 0, "port")`, `is 0, must be 1-65535`.
    A `sentence` stands alone: the path then gives only the line."""

    def __init__(self, what: str, *path: str | int, hint: str = "", sentence: bool = False) -> None:
        super().__init__(what)
        self.what, self.path, self.hint, self.sentence = what, path, hint, sentence

    def under(self, *parents: str | int) -> Wrong:
        """The same, seen from further out."""
        self.path = (*parents, *self.path)
        return self

    def located(self, place: Place | None, root: Any = None, subject: str = "") -> InputError:
        """As an InputError at the line of the field in `root` (a value of `emu.api.tree`), else at `place`."""
        line = tree.line_of(root, self.path)
        if place and line:
            place = Place(place.file, line)
        field = "" if self.sentence else dotted(self.path)
        what = f"{field} {self.what}" if field else self.what
        return InputError(what, place=place, subject=subject, hint=self.hint)


def dotted(path: Path) -> str:
    """`spec.ports[0].port`; a key that holds dots or slashes stands in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or "" when nothing is near. Case alone counts as near."""
    names = {each.lower(): each for each in known}
    near = get_close_matches(str(name).lower(), list(names), n=3, cutoff=0.7)
    return f"did you mean {' or '.join(names[each] for each in near)}?" if near else ""


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if value != value.strip() or not value else value
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "empty" if value is None else str(value)
