"""A CNI network configuration list (`*.conflist`): read as the strict JSON it is, checked before anything runs it.

Source: containernetworking/cni SPEC.md 1.1.0, "Network configuration format"; libcni/api.go (ValidateNetworkList)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from emu.api import tree
from emu.api.wrong import Path, Wrong, did_you_mean, shown
from emu.errors import InputError, Place

FIELDS = ("cniVersion", "cniVersions", "name", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins")
#: Those whose results name addresses as `ips: [{address}]`, oldest first.
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
#: containerd's conf_template and what it knows of a Node: the Node's Pod ranges.
PLACEHOLDER = re.compile(r"\{\{\s*(?:\.PodCIDR|index \.PodCIDRRanges (\d))\s*\}\}")
DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni")  # containerd's, and Debian's


def read(text: str, file: str, families: int, directories: Iterable[str]) -> Mapping[str, Any]:
    """A file's content, with everything checked. Lines are found by reading it as YAML, which JSON is, but for tabs
    between the values. Raises InputError."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} (column {error.colno})", place=Place(file, error.lineno)) from None
    try:
        check(found, families)
        check_programs(found, directories)
    except Wrong as wrong:
        lines = next(tree.documents(text.replace("\t", " "), file), None)
        raise wrong.located(Place(file, getattr(lines, "line", 0)), lines) from None
    return dict(found)


def check(conflist: Mapping[str, Any], families: int) -> None:
    """Raises Wrong for the first thing that no runtime would take. `families`: how many Pod ranges a Node has."""
    if not isinstance(conflist, Mapping):
        raise Wrong("a conflist is a mapping of cniVersion, name and plugins", sentence=True)
    for field in conflist:
        if field not in FIELDS:
            raise _unknown(field, conflist)
    _version(conflist)
    name = conflist.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Wrong("is missing" if name is None else f"is {shown(name)}, must match {NAME.pattern}", "name")
    for field in ("disableCheck", "disableGC", "loadOnlyInlinedPlugins"):
        if conflist.get(field) not in (None, True, False, "true", "false"):
            raise Wrong(f"is {shown(conflist[field])}, must be true or false", field)
    plugins = conflist.get("plugins")
    if not isinstance(plugins, Sequence) or isinstance(plugins, str) or not plugins:
        raise Wrong("is missing" if plugins is None else "must be a list of one plugin at least", "plugins")
    for index, plugin in enumerate(plugins):
        _plugin(plugin, families, "plugins", index)


def _unknown(field: str, conflist: Mapping[str, Any]) -> Wrong:
    if "plugins" not in conflist and "type" in conflist:
        hint = "this is the configuration of one plugin: put it into a list, plugins: […]"
    else:
        hint = did_you_mean(field, FIELDS) or f"known: {', '.join(FIELDS)}"
    return Wrong("is no field of a conflist", field, hint=hint)


def _version(conflist: Mapping[str, Any]) -> None:
    if not version(conflist):
        asked = conflist.get("cniVersion")
        what = "is missing" if asked is None else f"is {shown(asked)}, must be one of {', '.join(VERSIONS)}"
        raise Wrong(what, "cniVersion")


def version(conflist: Mapping[str, Any]) -> str:
    """The version the plugins are spoken to in: the highest of `cniVersions` that is known here, else `cniVersion`."""
    offered = conflist.get("cniVersions")
    listed = list(offered) if isinstance(offered, Sequence) and not isinstance(offered, str) else []
    known = [each for each in (*listed, conflist.get("cniVersion")) if each in VERSIONS]
    return max(known, key=VERSIONS.index, default="")


def _plugin(plugin: Any, families: int, *path: str | int) -> None:
    if not isinstance(plugin, Mapping):
        raise Wrong("must be a mapping", *path)
    _type(plugin, *path)
    for where, text in _texts(plugin, path):
        rest = PLACEHOLDER.sub("", text)
        if "{{" in rest:
            raise Wrong(f"has {rest[rest.index('{{') :]}, which stands for nothing", *where, hint=_PLACEHOLDERS)
        for found in PLACEHOLDER.finditer(text):
            if int(found[1] or 0) >= families:
                raise Wrong(f"asks for range {found[1]}, a Node has {families}, counted from 0", *where)
    if isinstance(ipam := plugin.get("ipam"), Mapping) and ipam:
        _type(ipam, *path, "ipam")


_PLACEHOLDERS = "{{.PodCIDR}} and {{index .PodCIDRRanges 1}} stand for a Node's own Pod ranges"


def _type(plugin: Mapping[str, Any], *path: str | int) -> None:
    kind = plugin.get("type")
    if not isinstance(kind, str) or not kind or "/" in kind:
        raise Wrong("is missing" if kind is None else f"is {shown(kind)}, must be a plugin's file name", *path, "type")


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def types(conflist: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The programs it names, with the field: those of the list, and the IPAM plugins they call."""
    for index, plugin in enumerate(conflist["plugins"]):
        yield ("plugins", index, "type"), plugin["type"]
        if ipam := plugin.get("ipam"):
            yield ("plugins", index, "ipam", "type"), ipam["type"]


def check_programs(conflist: Mapping[str, Any], directories: Iterable[str]) -> None:
    """Raises Wrong for a plugin that is in none of the directories."""
    places = tuple(directories)
    for path, kind in types(conflist):
        if not any(os.access(f"{each}/{kind}", os.X_OK) for each in places):
            known = {name for each in places if os.path.isdir(each) for name in os.listdir(each)}
            hint = did_you_mean(kind, known) or (f"there: {', '.join(sorted(known))}" if known else _INSTALL)
            raise Wrong(f"is {kind}, and no program of that name is in {' or '.join(places)}", *path, hint=hint)


_INSTALL = "apt-get install containernetworking-plugins, or name the folder of your plugins in cni.binDir"


def capable(conflist: Mapping[str, Any], capability: str) -> bool:
    """Whether a plugin of the list takes this from the runtime."""
    found: Iterable[Mapping[str, Any]] = conflist.get("plugins", ())
    return any((plugin.get("capabilities") or {}).get(capability) is True for plugin in found)
