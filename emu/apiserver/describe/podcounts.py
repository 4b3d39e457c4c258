"""`Pods Status:` of what owns Pods."""

from __future__ import annotations

from collections import Counter

from emu.api.objects import KubeObject, Objects, Pod


def pods_status(owner: KubeObject, objects: Objects) -> str:
    """`2 Running / 0 Waiting / 0 Succeeded / 0 Failed`."""
    phases = Counter(
        each.status.phase
        for each in objects.values()
        if isinstance(each, Pod)
        and any(ref.uid == owner.metadata.uid and ref.controller for ref in each.metadata.owner_references)
    )
    counted = (("Running", "Running"), ("Waiting", "Pending"), ("Succeeded", "Succeeded"), ("Failed", "Failed"))
    return " / ".join(f"{phases[phase]} {word}" for word, phase in counted)
