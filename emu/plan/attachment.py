"""What a plan says of a Pod that CNI plugins join: which plugins, with which configuration and arguments."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginList:
    """A CNI network configuration list as it is on one Node. `plugins`: the object of each, as JSON text; `version`:
    what they are spoken to in. `paths` is CNI_PATH."""

    name: str
    version: str
    paths: tuple[str, ...]
    plugins: tuple[str, ...]
    check: bool = True  # CHECK may be called
    gc: bool = True  # and GC


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A Pod that CNI plugins join to a network. It is theirs to make and to take away: the kernel side calls them when
    it comes into the plan and when it goes. `capabilities`: what runtimeConfig can hold, as JSON text by name."""

    network: PluginList
    node: str
    pod: str  # namespace/name
    container_id: str
    families: tuple[int, ...] = (4,)  # of which the Pod needs an address each
    ifname: str = "eth0"
    args: tuple[tuple[str, str], ...] = ()  # CNI_ARGS
    capabilities: tuple[tuple[str, str], ...] = ()
    wrong: str = ""  # what CHECK says, when it is read back
