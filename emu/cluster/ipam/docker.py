"""Docker's own addresses of docker0: on each host the lowest that is free, whatever other hosts have given.

Source: moby/moby libnetwork/ipam (a bridge network's addresses are not given serially)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.ipam import default
from emu.cluster.model import IPAddress, IPNetwork
from emu.cluster.nodes import nodes as made_of
from emu.cluster.nodes import ranges

NAME = "docker"
DECIDES = True
HINT = "give a larger ranges.pods, a shorter ranges.node_pod_prefix, more nodes, or ask for fewer Pods"
LESS = "less network, gateway and broadcast"

settled = default.settled
known = default.known
most_pods = default.most_pods


def holder(node: str, address: str) -> str:
    """Every host has the same range."""
    return f"{node} {address}"


def totals(topology: Topology) -> Iterator[tuple[int, str]]:
    count = len(made_of(topology))
    for network in ranges(topology, "pods"):
        total = capacity(network) * count
        yield total, f"ranges.pods {network} on each of {count} nodes ({LESS}) holds {total}"


def room(_topology: Topology, node: model.Node) -> str:
    return f"its range {node.pod_cidrs[0]} holds {capacity(node.pod_cidrs[0])} ({LESS})"


def capacity(network: IPNetwork) -> int:
    return network.num_addresses - 3


class Book(default.Book):
    def __init__(self, _topology: Topology, nodes: Mapping[str, Node], holders: Mapping[str, Pod]) -> None:
        self._holders = holders
        self._ranges = {name: ip_network(node.spec.pod_cidrs[0]) for name, node in nodes.items()}
        self._lowest = dict.fromkeys(nodes, 2)  # below it none is free; 1 is the gateway's

    def why_not(self, _node: str, address: IPAddress) -> str:
        return f"no container can ask for {address}: docker run --ip works on networks of one's own, not on docker0"

    def take(self, _node: str, _address: IPAddress) -> None:
        raise AssertionError("nobody can ask for an address")

    def next(self, node: str) -> tuple[IPAddress, ...]:
        network = self._ranges[node]
        for number in range(self._lowest[node], network.num_addresses - 1):
            if holder(node, str(network[number])) not in self._holders:
                self._lowest[node] = number + 1
                return (network[number],)
        raise LookupError("no available IPv4 addresses on this network's address pools: bridge")


book = Book
