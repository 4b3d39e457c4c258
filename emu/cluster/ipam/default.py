"""What a kind of IPAM is like that has nothing of its own to say: one address is there once in a cluster, nothing is to
be done or remembered for the Nodes, and how many Pods a Node takes is its kubelet's matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.model import IPAddress


def holder(_node: str, address: str) -> str:
    return address


def settled(_topology: Topology, _nodes: Mapping[str, Node]) -> bool:
    return True


def known(_topology: Topology, made: tuple[model.Node, ...], _nodes: Mapping[str, Node]) -> tuple[model.Node, ...]:
    return made


def most_pods(_topology: Topology, _node: str) -> int | None:
    return None


class Book:
    """Any address may be asked for, and none is noted."""

    def __init__(self, _topology: Topology, _nodes: Mapping[str, Node], _holders: Mapping[str, Pod]) -> None:
        pass

    def why_not(self, _node: str, _address: IPAddress) -> str:
        return ""

    def take(self, _node: str, _address: IPAddress) -> None:
        pass

    def marked(self) -> Iterator[Node]:
        return iter(())
