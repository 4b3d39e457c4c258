"""Proxy modes: how Frontends become rules. A mode is one file here and one name in MODES."""

from __future__ import annotations

from types import ModuleType

from emu.api.topology import Topology
from emu.planners import choices
from emu.planners.proxy import cilium, iptables, none

MODES: tuple[ModuleType, ...] = (iptables, cilium, none)


def mode(name: str) -> ModuleType:
    """Raises Wrong for one that there is not."""
    return choices.mode("proxy", name, MODES)


def check(topology: Topology) -> None:
    """Raises Wrong, at the field, for what the mode does not take."""
    mode(topology.proxy.mode).check(topology)
