"""CNI modes: how Pods are joined and Nodes carry their packets. A mode is one file here and one name in MODES."""

from __future__ import annotations

from types import ModuleType

from emu.errors import InputError
from emu.planners.cni import calico_bgp, calico_vxlan, canal, docker, flannel_host_gw, flannel_vxlan

MODES: tuple[ModuleType, ...] = (flannel_vxlan, flannel_host_gw, calico_vxlan, calico_bgp, canal, docker)


def mode(name: str) -> ModuleType:
    for module in MODES:
        if name == module.NAME:
            return module
    raise InputError(f"unknown mode {name}", subject="cni", hint=f"known: {', '.join(m.NAME for m in MODES)}")
