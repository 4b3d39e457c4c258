"""Addresses that real CNI plugins give, by whatever IPAM their configuration names. Nothing is decided here: a Pod has
the address that its ADD has brought, once that is reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.model import IPAddress

NAME = "plugins"
DECIDES = False
HINT = "give the plugins a larger range, or ask for fewer Pods"


def holder(_node: str, address: str) -> str:
    return address


def settled(_topology: Topology, _nodes: Mapping[str, Node]) -> bool:
    return True


def known(_topology: Topology, made: tuple[model.Node, ...], _nodes: Mapping[str, Node]) -> tuple[model.Node, ...]:
    return made


def most_pods(_topology: Topology, _node: str) -> int | None:
    return None


def totals(_topology: Topology) -> Iterator[tuple[int, str]]:
    return iter(())


def room(_topology: Topology, _node: model.Node) -> str:
    return "whose addresses the plugins know"


class Book:
    def __init__(self, _topology: Topology, _nodes: Mapping[str, Node], _holders: Mapping[str, Pod]) -> None:
        pass

    def why_not(self, _node: str, _address: IPAddress) -> str:
        return ""

    def take(self, _node: str, _address: IPAddress) -> None:
        pass

    def next(self, node: str) -> tuple[IPAddress, ...]:
        raise LookupError(f"the plugins on {node} give the addresses")

    def marked(self) -> Iterator[Node]:
        return iter(())


book = Book
