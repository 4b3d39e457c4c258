"""Calico's IPAM: the Pod range is a pool of blocks (/26, IPv6 /122), and each block belongs to one Node.

A Node takes its first block when it needs its first address, another when all its blocks are full, and borrows single
addresses of other Nodes' blocks when no block is left. In a block the addresses are given in order, from the very
first on (no gateway, no broadcast), and from the one behind the last given on when some have come back.
A Node with a tunnel device takes the device's address before any Pod's: it is the first of the Node's first block.

Calico starts its search for a free block at a place drawn by the Node's name; here it starts where the Node's podCIDR
does, so that an address tells whose it is. Blocks and the last address given of each stand in an annotation of the
Node, where Calico has BlockAffinity and IPAMBlock objects; tunnel addresses stand in Calico's own annotations.
Source: projectcalico/calico libcalico-go/lib/ipam (ipam.go, ipam_block.go, ipam_block_reader_writer.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from emu.addressing import carve
from emu.api.cnimodes import cni_mode
from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.ipam import default
from emu.cluster.model import IPAddress, IPNetwork
from emu.cluster.nodes import ranges
from emu.errors import InputError
from emu.memo import by_identity

NAME = "calico"
DECIDES = True
HINT = "give a larger ranges.pods, a shorter ranges.node_pod_prefix, more nodes, or ask for fewer Pods"
BLOCKS = "kube-emu.io/calico-blocks"  # BLOCK=LAST,BLOCK=LAST …; no LAST where none has been given
BLOCK_SIZE = {4: 26, 6: 122}
OPTION = "block_size"  # of the CNI mode: an IPv4 block's prefix length
SHORTEST, LONGEST = 20, 32  # what Calico takes as an IPv4 pool's blockSize

holder = default.holder
most_pods = default.most_pods


@dataclass(slots=True)
class Block:
    network: IPNetwork
    last: IPAddress | None = None

    def __str__(self) -> str:
        return f"{self.network}={self.last or ''}"


def block_size(topology: Topology, network: IPNetwork) -> int:
    """The prefix length of a pool's blocks."""
    if network.version == 6:
        return max(BLOCK_SIZE[6], network.prefixlen)
    size = topology.cni.options.get(OPTION, max(BLOCK_SIZE[4], network.prefixlen))
    shortest = max(SHORTEST, network.prefixlen)
    if not isinstance(size, int) or not shortest <= size <= LONGEST:
        what = f"{OPTION} is {size}, must be {shortest}-{LONGEST} for ranges.pods {network}"
        raise InputError(what, subject=f"cni {topology.cni.mode}")
    return size


def settled(topology: Topology, nodes: Mapping[str, Node]) -> bool:
    return all(not _missing_tunnels(topology, node) for node in nodes.values())


def _missing_tunnels(topology: Topology, node: Node) -> list[tuple[int, str]]:
    """(family, annotation) of the tunnel addresses this Node should have and has not."""
    tunnels = cni_mode(topology.cni.mode).tunnels
    wanted = ((network.version, tunnels.get(network.version, "")) for network in ranges(topology, "pods"))
    return [(family, key) for family, key in wanted if key and key not in node.metadata.annotations]


def known(topology: Topology, made: tuple[model.Node, ...], nodes: Mapping[str, Node]) -> tuple[model.Node, ...]:
    return tuple(
        _with_blocks(topology, node, nodes[node.name].metadata.annotations) if node.name in nodes else node
        for node in made
    )


@by_identity
def _with_blocks(topology: Topology, node: model.Node, annotations: Mapping[str, str]) -> model.Node:
    tunnels = cni_mode(topology.cni.mode).tunnels
    return replace(
        node,
        blocks=tuple(block.network for block in _blocks(annotations)),
        tunnel_addresses=tuple(ip_address(annotations[key]) for key in tunnels.values() if key in annotations),
    )


def _blocks(annotations: Mapping[str, str]) -> list[Block]:
    pairs = (each.split("=") for each in annotations.get(BLOCKS, "").split(",") if each)
    return [Block(ip_network(network), ip_address(last) if last else None) for network, last in pairs]


def totals(topology: Topology) -> Iterator[tuple[int, str]]:
    tunnels = cni_mode(topology.cni.mode).tunnels
    for network in ranges(topology, "pods"):
        taken = len(topology.nodes) if network.version in tunnels else 0
        less = f" less {taken} tunnel addresses" if taken else ""
        total = network.num_addresses - taken
        yield total, f"ranges.pods {network} is a pool of {network.num_addresses} addresses{less} = {total}"


def room(topology: Topology, _node: model.Node) -> str:
    return f"the pool {' and '.join(map(str, ranges(topology, 'pods')))} is used up"


class Book:
    def __init__(self, topology: Topology, nodes: Mapping[str, Node], holders: Mapping[str, Pod]) -> None:
        self._topology, self._nodes, self._holders = topology, nodes, holders
        self._pools = ranges(topology, "pods")
        self._blocks = {name: _blocks(node.metadata.annotations) for name, node in nodes.items()}
        self._owners = {block.network: name for name, blocks in self._blocks.items() for block in blocks}
        self._tunnels = {name: self._tunnels_of(node) for name, node in nodes.items()}
        self._reserved = {text: name for name, tunnels in self._tunnels.items() for text in tunnels.values()}
        for name, node in nodes.items():
            for family, key in _missing_tunnels(topology, node):
                self._tunnels[name][key] = text = str(self._next_of(name, family))
                self._reserved[text] = name

    def _tunnels_of(self, node: Node) -> dict[str, str]:
        keys = cni_mode(self._topology.cni.mode).tunnels.values()
        return {key: node.metadata.annotations[key] for key in keys if key in node.metadata.annotations}

    def why_not(self, node: str, address: IPAddress) -> str:
        if not any(address in pool for pool in self._pools):
            return f"{address} is in no pool: {', '.join(map(str, self._pools))}"
        if str(address) in self._reserved:
            return f"{address} is the tunnel address of node {self._reserved[str(address)]}"
        return ""

    def take(self, node: str, address: IPAddress) -> None:
        """A block that belongs to nobody is the Node's from now on."""
        pool = next(pool for pool in self._pools if address in pool)
        block = ip_network((int(address), block_size(self._topology, pool)), strict=False)
        if block not in self._owners:
            self._claimed(node, block)

    def next(self, node: str) -> tuple[IPAddress, ...]:
        return tuple(self._next_of(node, pool.version) for pool in self._pools)

    def _next_of(self, node: str, family: int) -> IPAddress:
        own = [block for block in self._blocks[node] if block.network.version == family]
        others = (block for name, blocks in self._blocks.items() if name != node for block in blocks)
        for block in own:
            if found := self._free(block):
                return found
        if (new := self._claim(node, family)) and (found := self._free(new)):
            return found
        for block in others:
            if block.network.version == family and (found := self._free(block)):
                return found
        pool = next(pool for pool in self._pools if pool.version == family)
        what = f"failed to request IPv{family} addresses: Assigned 0 out of 1 requested IPv{family} addresses"
        raise LookupError(f"{what}; No IPs available in pools: [{pool}]")

    def _free(self, block: Block) -> IPAddress | None:
        count, first = block.network.num_addresses, int(block.network.network_address)
        start = int(block.last) - first + 1 if block.last else 0
        for step in range(count):
            address = block.network[(start + step) % count]
            if str(address) not in self._holders and str(address) not in self._reserved:
                block.last = address
                return address
        return None

    def _claim(self, node: str, family: int) -> Block | None:
        """The first block from the Node's podCIDR on, round the pool, that is nobody's."""
        pool = next(pool for pool in self._pools if pool.version == family)
        size = block_size(self._topology, pool)
        count = 1 << (size - pool.prefixlen)
        cidr = next(c for c in map(ip_network, self._nodes[node].spec.pod_cidrs) if c.version == family)
        start = (int(cidr.network_address) - int(pool.network_address)) >> (pool.max_prefixlen - size)
        for step in range(min(count, len(self._owners) + 1)):
            block = carve(pool, size, (start + step) % count)
            if block not in self._owners:
                return self._claimed(node, block)
        return None

    def _claimed(self, node: str, network: IPNetwork) -> Block:
        block = Block(network)
        self._blocks[node].append(block)
        self._owners[network] = node
        return block

    def marked(self) -> Iterator[Node]:
        return (_marked(node, {BLOCKS: self._text(name), **self._tunnels[name]}) for name, node in self._nodes.items())

    def _text(self, node: str) -> str:
        return ",".join(map(str, self._blocks[node]))


book = Book


def _marked(node: Node, notes: Mapping[str, str]) -> Node:
    notes = {key: text for key, text in notes.items() if text}
    if all(node.metadata.annotations.get(key) == text for key, text in notes.items()):
        return node
    return replace(node, metadata=replace(node.metadata, annotations={**node.metadata.annotations, **notes}))
