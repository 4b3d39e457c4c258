"""The topology file: short forms written out, the family's default ranges filled in, a conflist that it names read,
every rule of it checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emu.api import codec, conflist, images, topologyrules, tree
from emu.api.cnimodes import PLUGINS, CniMode, cni_mode
from emu.api.topology import Cni, Topology
from emu.api.wrong import Wrong
from emu.errors import InputError, Place

Check = Callable[[Topology], None]
Beside = Callable[[str], Path]


def parse(text: str, file: str, check: Check = lambda _: None, beside: Beside = Path) -> Topology:
    """`check` knows what this layer does not: the modes. It raises Wrong. `beside` finds the files it names."""
    documents = list(tree.documents(text, file))
    if len(documents) != 1:
        raise InputError(f"has {len(documents)} YAML documents, must have one", place=Place(file))
    node = documents[0]
    place = Place(file, getattr(node, "line", 0))
    try:
        node = _written_out(node)
        _conflist(node, beside)
    except Wrong as wrong:
        raise wrong.located(place, node) from None
    topology = codec.decode(Topology, node, place)
    try:
        topologyrules.check(topology)
        check(topology)
    except Wrong as wrong:
        raise wrong.located(place, node) from None
    images.load_registry(node.get("images") or {}, place)
    return topology


def _written_out(node: Any) -> Any:
    """Short forms: `nodes: 2`, `cni: NAME`, one range or several in one string. And what the CNI mode brings."""
    if not isinstance(node, dict):
        raise Wrong("a topology is a mapping of name, nodes, cni …")
    if "kind" in node and "apiVersion" in node:
        raise Wrong("this is a Kubernetes manifest, not a topology", "kind", sentence=True)
    _nodes(node)
    for name in ("cni", "proxy"):
        if isinstance(node.get(name), str):
            node[name] = {"mode": node[name]}
    cni = node.get("cni")
    if isinstance(cni, dict) and cni.get("conflist") and not cni.get("mode"):
        cni["mode"] = PLUGINS
    if isinstance(node.get("manifests"), str):
        node["manifests"] = [node["manifests"]]
    mode = _mode(node)
    _ranges(node, mode)
    _brought(node, mode)
    return node


def _mode(node: dict[str, Any]) -> CniMode:
    cni = node.get("cni")
    name = cni.get("mode") if isinstance(cni, dict) else None
    return cni_mode(name if isinstance(name, str) and name else Cni().mode)


def _conflist(node: dict[str, Any], beside: Beside) -> None:
    """A file's name becomes what stands in it, which is checked there. Its plugins are looked for at once."""
    cni = node.get("cni")
    if not isinstance(cni, dict) or not cni.get("conflist"):
        return
    given, families, directories = cni["conflist"], len(_versions(node)), _directories(cni, beside)
    if isinstance(given, str):
        file = beside(given)
        cni["conflist"] = conflist.read(_text(file), str(file), families, directories)
        return
    try:
        conflist.check(given, families)
        conflist.check_programs(given, directories)
    except Wrong as wrong:
        raise wrong.under("cni", "conflist") from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error.reason
        raise Wrong(f"is {file}, which cannot be read: {why}", "cni", "conflist") from None


def _directories(cni: dict[str, Any], beside: Beside) -> list[str]:
    given = cni.get("binDir")
    if isinstance(given, str):
        given = [given]
    if given is None or not isinstance(given, list):
        return [each for each in conflist.DIRECTORIES if Path(each).is_dir()] or list(conflist.DIRECTORIES)
    found = [str(beside(each).absolute()) if isinstance(each, str) else each for each in given]
    for index, each in enumerate(found):
        if isinstance(each, str) and not Path(each).is_dir():
            raise Wrong(f"is {each}, which is no folder", "cni", "binDir", index)
    cni["binDir"] = found
    return [each for each in found if isinstance(each, str)]


def _brought(node: dict[str, Any], mode: CniMode) -> None:
    """The mode's own proxy, number of DNS servers and network between the Nodes, where the file does not say."""
    brought = (
        ("proxy", "mode", mode.proxy),
        ("dns", "replicas", mode.dns_replicas),
        ("fabric", "kind", mode.fabric),
        ("fabric", "mtu", mode.mtu),
    )
    for name, field, value in brought:
        if node.get(name) is None:
            node[name] = {}
        if isinstance(node[name], dict) and node[name].get(field) is None:
            node[name][field] = value
    proxy = node["proxy"]
    if isinstance(proxy, dict) and proxy.get("mode") == mode.proxy and proxy.get("options") is None:
        proxy["options"] = dict(mode.proxy_options)


def _nodes(node: dict[str, Any]) -> None:
    nodes = node.get("nodes")
    if isinstance(nodes, int) and not isinstance(nodes, bool):
        if not 1 <= nodes <= topologyrules.MOST_NODES:
            raise Wrong(f"is {nodes}, must be 1-{topologyrules.MOST_NODES}", "nodes")
        node["nodes"] = [{"name": f"node{index}"} for index in range(1, nodes + 1)]
    elif isinstance(nodes, list):
        nodes[:] = [{"name": each} if isinstance(each, str) else each for each in nodes]
    elif nodes is not None:
        raise Wrong("must be a number or a list", "nodes")


def _versions(node: dict[str, Any]) -> tuple[int, ...]:
    family = node.get("family") or "ipv4"
    return topologyrules.FAMILIES.get(family, (4,)) if isinstance(family, str) else (4,)


def _ranges(node: dict[str, Any], mode: CniMode) -> None:
    """What is not given is the default of the family, or the mode's."""
    ranges = node.get("ranges")
    if ranges is None:
        ranges = node["ranges"] = {}
    if not isinstance(ranges, dict):
        return
    versions = _versions(node)
    brought = {"nodes": mode.nodes, "pods": mode.pods}
    chosen = _by_option(node, mode)
    for name, defaults in topologyrules.DEFAULT_RANGES.items():
        if ranges.get(name) is None and name == "pods" and mode.node_network:
            ranges[name] = list(ranges["nodes"]) if isinstance(ranges["nodes"], list) else ranges["nodes"]
        elif ranges.get(name) is None:
            own = brought.get(name, {})
            ranges[name] = [own.get(version, defaults[version]) for version in versions]
            if name in chosen and versions == (4,):
                ranges[name] = [chosen[name]]
        elif isinstance(ranges[name], str):
            ranges[name] = [each.strip() for each in ranges[name].split(",")]


def _by_option(node: dict[str, Any], mode: CniMode) -> Mapping[str, str]:
    cni = node.get("cni")
    options = cni.get("options") if isinstance(cni, dict) else None
    if not isinstance(options, dict):
        return {}
    return next((found for (key, value), found in mode.by_option.items() if options.get(key) == value), {})
