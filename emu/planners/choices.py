"""What a topology file may choose of modes, their options and the MTU they leave: what is wrong, by field path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType

from emu.api.topology import Topology
from emu.api.wrong import Wrong, did_you_mean, shown
from emu.cluster.nodes import families

IPV6_LEAST_MTU = 1280  # RFC 8200 section 5; below it Linux takes IPv6 off the device


def mode(group: str, name: str, modes: Sequence[ModuleType]) -> ModuleType:
    """`group` is the field of the topology: cni, proxy."""
    known = {module.NAME: module for module in modes}
    if name in known:
        return known[name]
    near = did_you_mean(name, known)
    raise Wrong(
        f"is {shown(name)}, which is no mode{'; ' if near else ''}{near}",
        group,
        "mode",
        hint=f"known: {', '.join(known)}",
    )


def unknown(group: str, name: str, option: str, known: Iterable[str]) -> Wrong:
    known = tuple(known)
    near = did_you_mean(option, known)
    what = f"{group} {name}: unknown option {option}{'; ' if near else ''}{near}"
    hint = f"known: {', '.join(known)}" if known else "this mode has no options"
    return Wrong(what, group, "options", option, hint=hint, sentence=True)


def flag(group: str, name: str, options: Mapping[str, object], known: str = "", *, others: Sequence[str] = ()) -> bool:
    """The one switch of a mode, if it has one. `others` are looked at elsewhere."""
    for option, value in options.items():
        if option not in (known, *others):
            raise unknown(group, name, option, filter(None, (known, *others)))
        if option == known and not isinstance(value, bool):
            raise Wrong(f"is {shown(value)}, must be true or false", group, "options", option)
    return bool(options.get(known))


def least_mtu(topology: Topology, overhead: Mapping[int, int]) -> None:
    """With IPv6, what a mode's tunnels and Pods get must be IPv6's least. `overhead`: what it takes, by family."""
    if 6 not in families(topology):
        return
    taken = max(overhead.get(family, 0) for family in families(topology))
    if topology.fabric.mtu - taken < IPV6_LEAST_MTU:
        what = f"is {topology.fabric.mtu}, must be {IPV6_LEAST_MTU + taken} at least"
        hint = f"{topology.cni.mode} takes {taken} of it, and IPv6 needs {IPV6_LEAST_MTU}"
        raise Wrong(what, "fabric", "mtu", hint=hint)
