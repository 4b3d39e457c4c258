"""`describe namespace`."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.objects import Namespace, Objects
from emu.apiserver.describe.lines import KindDescription, annotated, mapping


def lines(obj: Namespace, objects: Objects) -> Iterator[str]:
    yield f"Name:\t{obj.metadata.name}"
    yield from mapping("Labels", obj.metadata.labels)
    yield from annotated(obj.metadata.annotations)
    yield f"Status:\t{obj.status.phase}"


DESCRIPTION = KindDescription("Namespace", lines)
