"""The host-local IPAM plugin: addresses of the Node's own range.

It goes round the range (the first address is the gateway's) from the one it reserved last, so that an address is not
used again at once. The last one stands in an annotation of the Node, as the plugin keeps it in a file. Asked-for
addresses leave that mark where it is: the addresses of the other Pods do not depend on them.
Source: containernetworking/plugins plugins/ipam/host-local/backend/allocator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.ipam import default
from emu.cluster.model import IPAddress, IPNetwork
from emu.cluster.nodes import nodes as made_of
from emu.cluster.nodes import ranges

NAME = "host-local"
DECIDES = True
HINT = "give a larger ranges.pods, a shorter ranges.node_pod_prefix, more nodes, or ask for fewer Pods"
LAST_RESERVED = "kube-emu.io/last-reserved-ip"
LESS = "less network, gateway and broadcast"

holder = default.holder
settled = default.settled
known = default.known
most_pods = default.most_pods


def totals(topology: Topology) -> Iterator[tuple[int, str]]:
    made = made_of(topology)
    for network, cidr in zip(ranges(topology, "pods"), made[0].pod_cidrs, strict=True):
        each = capacity(cidr)
        total = each * len(made)
        yield (
            total,
            f"ranges.pods {network} holds {len(made)} nodes x {each} Pods (a /{cidr.prefixlen} each, {LESS}) = {total}",
        )


def room(_topology: Topology, node: model.Node) -> str:
    rooms = " and ".join(f"{cidr} holds {capacity(cidr)}" for cidr in node.pod_cidrs)
    return f"its range {rooms} ({LESS})"


def capacity(cidr: IPNetwork) -> int:
    """How many Pods a Node's range holds: all but the network, the gateway and, in IPv4, the broadcast address."""
    return cidr.num_addresses - (3 if cidr.version == 4 else 2)


class Book(default.Book):
    def __init__(self, _topology: Topology, nodes: Mapping[str, Node], holders: Mapping[str, Pod]) -> None:
        self._nodes, self._holders = nodes, holders
        self._last = {name: _last_reserved(node) for name, node in nodes.items()}

    def why_not(self, node: str, address: IPAddress) -> str:
        cidr = next(cidr for cidr in self._cidrs(node) if cidr.version == address.version)
        reserved = [cidr[0], cidr[1], *([cidr[-1]] if cidr.version == 4 else [])]
        if address in cidr and address not in reserved:
            return ""
        return f"{address} is not a Pod address of {node}: {cidr} without {', '.join(map(str, reserved))}"

    def next(self, node: str) -> tuple[IPAddress, ...]:
        last = self._last[node]
        given = tuple(self._next_of(cidr, last.get(cidr.version)) for cidr in self._cidrs(node))
        last.update((address.version, address) for address in given)
        return given

    def _next_of(self, cidr: IPNetwork, last: IPAddress | None) -> IPAddress:
        count = capacity(cidr) + 1  # and the gateway, number 0 of the usable ones
        start = int(last) - int(cidr.network_address) if last is not None and last in cidr else 1
        for step in range(min(count, len(self._holders) + 2)):
            number = (start + step) % count
            if number and str(cidr[number + 1]) not in self._holders:
                return cidr[number + 1]
        first, end = cidr[1], cidr[count]
        raise LookupError(f"failed to allocate for range 0: no IP addresses available in range set: {first}-{end}")

    def marked(self) -> Iterator[Node]:
        return (_marked(self._nodes[name], last) for name, last in self._last.items())

    def _cidrs(self, node: str) -> list[IPNetwork]:
        return [ip_network(cidr) for cidr in self._nodes[node].spec.pod_cidrs]


book = Book


def _last_reserved(node: Node) -> dict[int, IPAddress]:
    text = node.metadata.annotations.get(LAST_RESERVED, "")
    return {address.version: address for address in map(ip_address, filter(None, text.split(",")))}


def _marked(node: Node, last: dict[int, IPAddress]) -> Node:
    text = ",".join(map(str, last.values()))
    if node.metadata.annotations.get(LAST_RESERVED, "") == text:
        return node
    meta = replace(node.metadata, annotations={**node.metadata.annotations, LAST_RESERVED: text})
    return replace(node, metadata=meta)
