"""Proxy modes: how Frontends become rules. A mode is one file here and one name in MODES."""

from __future__ import annotations

from types import ModuleType

from emu.errors import InputError
from emu.planners.proxy import iptables, none

MODES: tuple[ModuleType, ...] = (iptables, none)


def mode(name: str) -> ModuleType:
    for module in MODES:
        if name == module.NAME:
            return module
    raise InputError(f"unknown mode {name}", subject="proxy", hint=f"known: {', '.join(m.NAME for m in MODES)}")
