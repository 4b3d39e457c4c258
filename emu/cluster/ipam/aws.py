"""ipamd of the AWS VPC CNI: a Node's network interfaces (ENIs) and the VPC addresses assigned to them, for its Pods.

The first ENI comes with as many secondary addresses as the instance type lets it have; another is attached as soon as
fewer are free than one whole ENI has (`warm_eni_target`), up to the type's limit. With prefix delegation it is /28
blocks, one by one, that are assigned in their place. What is attached stays, though ipamd gives back what has long been
idle. An address that a Pod has given back is the last to be given again (ipamd lets it cool for 30 s).

AWS draws addresses from the subnet at random; here each Node's are next to each other, from a place that its number
tells. The first four addresses of a subnet and the last are AWS's own. ENIs stand in an annotation of the Node.
Source: aws/amazon-vpc-cni-k8s pkg/ipamd/ipamd.go (isDatastorePoolTooLow), pkg/ipamd/datastore/data_store.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_interface

from emu import names
from emu.api.objects import Node, Pod
from emu.api.topology import Topology
from emu.cluster import model
from emu.cluster.ipam import default
from emu.cluster.ipam.aws_instances import LABEL, PREFIX_ADDRESSES, Instance, instance_of, options_of
from emu.cluster.model import IPAddress
from emu.cluster.nodes import nodes as made_of
from emu.memo import by_identity

NAME = "aws-vpc"
DECIDES = True
ENIS = "kube-emu.io/enis"  # eth0=PRIMARY:ADDRESS,ADDRESS …;eth1=…
LAST = "kube-emu.io/last-pod-ip"
HINT = "give a larger instance_type, prefix_delegation: true, larger ranges.nodes, more nodes, or ask for fewer Pods"
RESERVED = 5  # of each subnet: network, router, DNS, one for later, broadcast
APART = 256  # where a subnet is large enough, each Node's addresses begin so many behind those of the one before
_PREFIX = 28

holder = default.holder


@dataclass(slots=True)
class Eni:
    dev: str
    primary: IPv4Address
    assigned: list[IPv4Network] = field(default_factory=list)

    def __str__(self) -> str:
        bare = (str(net.network_address) if net.prefixlen == 32 else str(net) for net in self.assigned)
        return f"{self.dev}={self.primary}:{','.join(bare)}"


def _enis(annotations: Mapping[str, str]) -> list[Eni]:
    found = []
    for text in filter(None, annotations.get(ENIS, "").split(";")):
        dev, _, rest = text.partition("=")
        primary, _, assigned = rest.partition(":")
        networks = [IPv4Network(each) for each in assigned.split(",") if each]
        found.append(Eni(dev, IPv4Address(primary), networks))
    return found


def settled(_topology: Topology, nodes: Mapping[str, Node]) -> bool:
    return all(ENIS in node.metadata.annotations for node in nodes.values())


def known(_topology: Topology, made: tuple[model.Node, ...], nodes: Mapping[str, Node]) -> tuple[model.Node, ...]:
    return tuple(
        _with_uplinks(node, nodes[node.name].metadata.annotations) if node.name in nodes else node for node in made
    )


@by_identity
def _with_uplinks(node: model.Node, annotations: Mapping[str, str]) -> model.Node:
    length = node.addresses[0].network.prefixlen
    return replace(
        node,
        uplinks=tuple(
            model.Uplink(
                dev=eni.dev, addresses=(ip_interface(f"{eni.primary}/{length}"),), assigned=tuple(eni.assigned)
            )
            for eni in _enis(annotations)
        ),
    )


def most_pods(topology: Topology, node: str) -> int | None:
    """kubelet's limit (`--max-pods`), without those that have the Node's own address."""
    return instance_of(topology, node).pods


def totals(topology: Topology) -> Iterator[tuple[int, str]]:
    made = made_of(topology)
    types = Counter(instance_of(topology, node.name) for node in made)
    total = sum(instance.pods * count for instance, count in types.items())
    parts = " and ".join(f"{count} x {instance}" for instance, count in types.items())
    yield total, f"the nodes hold {total} Pods ({parts})"
    subnets = Counter(node.addresses[0].network for node in made)
    room = sum(_room(subnet) - count for subnet, count in subnets.items())
    each = " and ".join(f"{_arithmetic(subnet)} less {count} of nodes" for subnet, count in subnets.items())
    yield room, f"ranges.nodes {each} = {room} for Pods"


def _room(subnet: model.IPNetwork) -> int:
    return subnet.num_addresses - RESERVED


def _arithmetic(subnet: model.IPNetwork) -> str:
    return f"{subnet} has {subnet.num_addresses} addresses less {RESERVED} of AWS's = {_room(subnet)}"


def room(topology: Topology, node: model.Node) -> str:
    subnet = node.addresses[0].network
    return f"it is a {instance_of(topology, node.name)}, and its subnet {_arithmetic(subnet)} for all ENIs and Pods"


class Book:
    def __init__(self, topology: Topology, nodes: Mapping[str, Node], holders: Mapping[str, Pod]) -> None:
        self._options, self._nodes, self._holders = options_of(topology.cni.options), nodes, holders
        self._made = {node.name: node for node in made_of(topology) if node.name in nodes}
        self._instances = {name: instance_of(topology, name) for name in self._made}
        self._enis = {name: _enis(nodes[name].metadata.annotations) for name in self._made}
        self._last = {name: nodes[name].metadata.annotations.get(LAST, "") for name in self._made}
        self._used = Counter(pod.spec.node_name for pod in holders.values())
        self._taken = {address for node in made_of(topology) for address in (int(node.addresses[0].ip),)}
        for eni in (eni for enis in self._enis.values() for eni in enis):
            self._taken.add(int(eni.primary))
            self._taken.update(int(address) for network in eni.assigned for address in network)
        for name, enis in self._enis.items():
            if not enis:
                primary = self._made[name].addresses[0].ip
                assert isinstance(primary, IPv4Address)
                enis.append(Eni(names.UPLINK, primary))
                self._fill(name, enis[0])

    def why_not(self, _node: str, address: IPAddress) -> str:
        return f"no Pod can ask for {address}: ipamd gives it one of the addresses of its Node's ENIs"

    def take(self, _node: str, _address: IPAddress) -> None:
        raise AssertionError("nobody can ask for an address")

    def next(self, node: str) -> tuple[IPAddress, ...]:
        found = self._free(node) or (self._free(node) if self._grown(node) else None)
        if found is None:
            raise LookupError("add cmd: failed to assign an IP address to container")
        self._last[node] = str(found)
        self._used[node] += 1
        while self._is_low(node) and self._grown(node):
            pass
        return (found,)

    def _free(self, node: str) -> IPv4Address | None:
        """The first free one behind the last given, round all ENIs."""
        every = [address for eni in self._enis[node] for network in eni.assigned for address in network]
        last = IPv4Address(self._last[node]) if self._last[node] else None
        start = every.index(last) + 1 if last in every else 0
        turn = (*every[start:], *every[:start])
        return next((address for address in turn if str(address) not in self._holders), None)

    def _is_low(self, node: str) -> bool:
        instance, options = self._instances[node], self._options
        total = sum(network.num_addresses for eni in self._enis[node] for network in eni.assigned)
        free = total - self._used[node]
        if instance.prefixes:
            return total < instance.pods and free < PREFIX_ADDRESSES * options.warm_prefix_target
        return total < instance.pods and free < instance.of_one_eni * options.warm_eni_target

    def _grown(self, node: str) -> bool:
        """Whether there was room for more: in the last ENI, for another, and in the subnet."""
        enis, instance = self._enis[node], self._instances[node]
        if instance.prefixes and len(enis[-1].assigned) < instance.addresses - 1 and self._fill(node, enis[-1]):
            return True
        if len(enis) == instance.enis or (primary := self._single(node)) is None:
            return False
        eni = Eni(f"eth{len(enis)}", primary)
        if not self._fill(node, eni):
            self._taken.discard(int(primary))
            return False
        enis.append(eni)
        return True

    def _fill(self, node: str, eni: Eni) -> bool:
        """All secondary addresses, or one more prefix; fewer where the subnet has no more."""
        if self._instances[node].prefixes:
            new = self._block(node)
            eni.assigned += [new] if new else []
            return new is not None
        while len(eni.assigned) < self._instances[node].addresses - 1:
            if (address := self._single(node)) is None:
                break
            eni.assigned.append(IPv4Network(address))
        return bool(eni.assigned)

    def _single(self, node: str) -> IPv4Address | None:
        found = self._search(node, 1)
        return None if found is None else IPv4Address(found)

    def _block(self, node: str) -> IPv4Network | None:
        found = self._search(node, PREFIX_ADDRESSES)
        return None if found is None else IPv4Network((found, _PREFIX))

    def _search(self, node: str, size: int) -> int | None:
        """The first free run of that size, from the Node's own place in the subnet on."""
        subnet, number = self._made[node].addresses[0].network, self._made[node].index
        first, count = int(subnet.network_address), subnet.num_addresses
        nodes = len(self._made)
        place = APART * number + 1 if APART * (nodes + 1) <= count else count * number // (nodes + 1)
        for step in range(place // size * size, place + count, size):
            offset = step % count
            run = range(first + offset, first + offset + size)
            if offset >= 4 and offset + size < count and self._taken.isdisjoint(run):
                self._taken.update(run)
                return first + offset
        return None

    def marked(self) -> Iterator[Node]:
        for name, enis in self._enis.items():
            notes = {ENIS: ";".join(map(str, enis)), LAST: self._last[name]}
            yield _marked(self._nodes[name], {key: text for key, text in notes.items() if text}, self._instances[name])


book = Book


def _marked(node: Node, notes: Mapping[str, str], instance: Instance) -> Node:
    meta = node.metadata
    if LABEL in meta.labels and all(meta.annotations.get(key) == text for key, text in notes.items()):
        return node
    labels = meta.labels if LABEL in meta.labels else {**meta.labels, LABEL: instance.type}
    return replace(node, metadata=replace(meta, labels=labels, annotations={**meta.annotations, **notes}))
