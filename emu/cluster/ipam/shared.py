"""One range that all Nodes give addresses from: the Node network, where Pods are hosts of it, or an overlay network.

It goes round the range from the address given last, so that one that was given back is not given again at once. The
last one stands in an annotation of the first Node; asked-for addresses leave it as it is. The mode says with which
number it begins (`CniMode.first`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address

from emu.api.cnimodes import cni_mode
from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.ipam import default
from emu.cluster.ipam.host_local import LAST_RESERVED
from emu.cluster.model import IPAddress, IPNetwork
from emu.cluster.nodes import gateway_of, ranges
from emu.cluster.nodes import nodes as made_of

NAME = "shared"
DECIDES = True
HINT = "give a larger range, or ask for fewer Pods"

holder = default.holder
settled = default.settled
known = default.known
most_pods = default.most_pods


def totals(topology: Topology) -> Iterator[tuple[int, str]]:
    for network in ranges(topology, "pods"):
        yield _total(topology, network), f"ranges.pods {_arithmetic(topology, network)}"


def room(topology: Topology, _node: model.Node) -> str:
    return f"all Nodes give from {' and '.join(_arithmetic(topology, each) for each in ranges(topology, 'pods'))}"


def _total(topology: Topology, network: IPNetwork) -> int:
    return network.num_addresses - len(_reserved(topology, network))


def _arithmetic(topology: Topology, network: IPNetwork) -> str:
    return f"{network} less {_less(topology, network)} holds {_total(topology, network)}"


def _less(topology: Topology, network: IPNetwork) -> str:
    nodes = len(_reserved(topology, network)) - 3
    return f"network, gateway, broadcast and Nodes ({nodes})" if nodes else "network, gateway and broadcast"


def _reserved(topology: Topology, network: IPNetwork) -> frozenset[IPAddress]:
    own = (each.ip for node in made_of(topology) for each in node.addresses if each.ip in network)
    return frozenset((network[0], network[-1], gateway_of(topology, network), *own))


class Book(default.Book):
    def __init__(self, topology: Topology, nodes: Mapping[str, Node], holders: Mapping[str, Pod]) -> None:
        self._holders = holders
        self._first = cni_mode(topology.cni.mode).first
        self._reserved = {network: _reserved(topology, network) for network in ranges(topology, "pods")}
        self._keeper = nodes[topology.nodes[0].name]
        last = self._keeper.metadata.annotations.get(LAST_RESERVED, "")
        self._last = {address.version: address for address in map(ip_address, filter(None, last.split(",")))}

    def why_not(self, _node: str, address: IPAddress) -> str:
        network = next(each for each in self._reserved if each.version == address.version)
        if address not in network:
            return f"{address} is not in {network}"
        return f"{address} is of the network itself or of a Node" if address in self._reserved[network] else ""

    def next(self, _node: str) -> tuple[IPAddress, ...]:
        given = tuple(map(self._next_of, self._reserved))
        self._last.update((address.version, address) for address in given)
        return given

    def _next_of(self, network: IPNetwork) -> IPAddress:
        last = self._last.get(network.version)
        count = network.num_addresses
        start = int(last) - int(network[0]) + 1 if last is not None and last in network else self._first
        for step in range(min(count, len(self._holders) + len(self._reserved[network]) + 1)):
            address = network[(start + step) % count]
            if address not in self._reserved[network] and str(address) not in self._holders:
                return address
        raise LookupError(f"no address of {network} is free")

    def marked(self) -> Iterator[Node]:
        text = ",".join(map(str, self._last.values()))
        if self._keeper.metadata.annotations.get(LAST_RESERVED, "") != text:
            meta = self._keeper.metadata
            yield replace(
                self._keeper, metadata=replace(meta, annotations={**meta.annotations, LAST_RESERVED: text})
            )  # fmt: skip


book = Book
