"""Where Pod addresses come from. A kind of IPAM is one file here and one name in KINDS; the CNI mode chooses it
(`api.cnimodes`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from emu.api.cnimodes import cni_mode
from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.ipam import aws, calico, docker, host_local, plugins, shared
from emu.cluster.model import IPAddress

Nodes = tuple[model.Node, ...]


class Book(Protocol):
    """Who has which address while Pods are given theirs; what must outlive it stands in the Nodes' annotations."""

    def why_not(self, node: str, address: IPAddress) -> str:
        """Why no Pod of that Node can ever ask for this address; "" if one may."""

    def take(self, node: str, address: IPAddress) -> None:
        """A Pod has been given the address it asked for."""

    def next(self, node: str) -> tuple[IPAddress, ...]:
        """One free address of each family. Raises LookupError, with nothing given, when there is none."""

    def marked(self) -> Iterator[Node]:
        """The Nodes, with what is to be remembered."""


class Kind(Protocol):
    """One file of this folder."""

    NAME: str
    DECIDES: bool  # False: who joins a Pod gives it its address, and reports it
    HINT: str  # what to do when there are too few

    def holder(self, node: str, address: str) -> str:
        """The key in `holders` of who has an address on a Node: the address, where there is one of it in a cluster."""

    def settled(self, topology: Topology, nodes: Mapping[str, Node]) -> bool:
        """Whether there is nothing to do for the Nodes themselves."""

    def book(self, topology: Topology, nodes: Mapping[str, Node], holders: Mapping[str, Pod]) -> Book:
        """`holders`: by `holder`; it grows as Pods are given theirs."""

    def known(self, topology: Topology, made: Nodes, nodes: Mapping[str, Node]) -> Nodes:
        """The planners' Nodes, with what has been decided for them."""

    def most_pods(self, topology: Topology, node: str) -> int | None:
        """How many Pods the Node's kubelet takes, if that follows from its addresses."""

    def totals(self, topology: Topology) -> Iterator[tuple[int, str]]:
        """How many Pods all Nodes hold together, of each family and of whatever limits them, and the arithmetic in
        words."""

    def room(self, topology: Topology, node: model.Node) -> str:
        """What one Node holds, in words."""


KINDS: tuple[Kind, ...] = (host_local, calico, docker, shared, plugins, aws)


def of(topology: Topology) -> Kind:
    wanted = cni_mode(topology.cni.mode).ipam
    return next(kind for kind in KINDS if wanted == kind.NAME)
