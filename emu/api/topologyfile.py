"""The topology file: short forms written out, defaults of the family filled in, ranges checked."""

from __future__ import annotations

from typing import Any

from emu.api import codec, tree
from emu.api.topology import Topology
from emu.errors import InputError, Place

FAMILIES = {"ipv4": (4,), "ipv6": (6,), "ipv4-ipv6": (4, 6), "ipv6-ipv4": (6, 4)}

#: kubeadm's and Flannel's for IPv4, kind's for IPv6.
DEFAULT_RANGES = {
    "nodes": {4: "192.168.100.0/24", 6: "fd00:192:168:100::/64"},
    "pods": {4: "10.244.0.0/16", 6: "fd00:10:244::/56"},
    "services": {4: "10.96.0.0/12", 6: "fd00:10:96::/112"},
}


def parse(text: str, file: str) -> Topology:
    documents = list(tree.documents(text, file))
    if len(documents) != 1:
        raise InputError(f"has {len(documents)} YAML documents, must have one", place=Place(file))
    node = _written_out(documents[0])
    return codec.decode(Topology, node, Place(file, getattr(node, "line", 0)))


def _written_out(node: Any) -> Any:
    """Short forms: `nodes: 2`, `cni: NAME`, one range or several in one string."""
    if not isinstance(node, dict):
        return node
    nodes = node.get("nodes")
    if isinstance(nodes, int) and not isinstance(nodes, bool):
        node["nodes"] = [{"name": f"node{index}"} for index in range(1, nodes + 1)]
    elif isinstance(nodes, list):
        nodes[:] = [{"name": each} if isinstance(each, str) else each for each in nodes]
    for name in ("cni", "proxy"):
        if isinstance(node.get(name), str):
            node[name] = {"mode": node[name]}
    if isinstance(node.get("manifests"), str):
        node["manifests"] = [node["manifests"]]
    _ranges(node)
    return node


def _ranges(node: dict[str, Any]) -> None:
    ranges = node.setdefault("ranges", {})
    if not isinstance(ranges, dict):
        return
    families = FAMILIES.get(node.get("family") or "ipv4", (4,))
    for name, defaults in DEFAULT_RANGES.items():
        if ranges.get(name) is None:
            ranges[name] = [defaults[version] for version in families]
        elif isinstance(ranges[name], str):
            ranges[name] = [each.strip() for each in ranges[name].split(",")]
