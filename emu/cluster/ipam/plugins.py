"""Addresses that real CNI plugins give, by whatever IPAM their configuration names. Nothing is decided here: a Pod has
the address that its ADD has brought, once that is reported."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.ipam import default
from emu.cluster.model import IPAddress

NAME = "plugins"
DECIDES = False
HINT = "give the plugins a larger range, or ask for fewer Pods"

holder = default.holder
settled = default.settled
known = default.known
most_pods = default.most_pods


def totals(_topology: Topology) -> Iterator[tuple[int, str]]:
    return iter(())


def room(_topology: Topology, _node: model.Node) -> str:
    return "whose addresses the plugins know"


class Book(default.Book):
    def next(self, node: str) -> tuple[IPAddress, ...]:
        raise LookupError(f"the plugins on {node} give the addresses")


book = Book
