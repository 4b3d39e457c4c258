"""Kubernetes' own rules for the objects."""

from __future__ import annotations

from typing import Any

from emu.api.objects import KubeObject
from emu.errors import Place


def check(obj: KubeObject, place: Place | None = None, source: Any = None) -> None:
    """Raises InputError for the first rule broken. `source` is what was decoded, for the line."""
