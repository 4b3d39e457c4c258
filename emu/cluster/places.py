"""Errors found among objects → the file and line of the manifest they come from."""

from __future__ import annotations

from collections.abc import Mapping

from emu.api.load import str_of
from emu.api.objects import Key
from emu.errors import InputError, Place

WORKLOADS = frozenset({"Deployment", "ReplicaSet", "DaemonSet"})


def located(error: InputError, places: Mapping[Key, Place]) -> InputError:
    """The error with its place, if the object it is about, or the workload that made this Pod, stands in a file."""
    if error.place is not None:
        return error
    about = error.subject.split(": ")[0]
    for key, place in places.items():
        if about == str_of(key) or _is_made_by(about, key):
            return InputError(error.what, place=place, subject=error.subject, hint=error.hint)
    return error


def _is_made_by(about: str, key: Key) -> bool:
    kind, namespace, name = key
    return kind in WORKLOADS and about.startswith(f"Pod {namespace}/{name}-")
