"""What a Calico mode may be told in the topology file."""

from __future__ import annotations

from collections.abc import Mapping

from emu.cluster.ipam.calico import OPTION as BLOCK_SIZE
from emu.errors import InputError

CROSS_SUBNET = "cross_subnet"


def flag(mode: str, options: Mapping[str, object], known: str = "") -> bool:
    """The one switch of a mode, if it has one; the size of blocks is IPAM's, which has looked at it."""
    for key, value in options.items():
        if key not in (known, BLOCK_SIZE):
            hint = f"known: {', '.join(filter(None, (known, BLOCK_SIZE)))}"
            raise InputError(f"unknown option {key}", subject=f"cni {mode}", hint=hint)
        if key == known and not isinstance(value, bool):
            raise InputError(f"{key} is {value}, must be true or false", subject=f"cni {mode}")
    return bool(options.get(known))
