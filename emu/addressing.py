"""CIDR arithmetic: carving node ranges, naming overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_network
from itertools import combinations

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

#: What a default route leads to, by family.
EVERYTHING: dict[int, IPNetwork] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def carve(network: IPNetwork, prefix: int, index: int) -> IPNetwork:
    """The `index`-th subnet (from 0) of that prefix length. Raises IndexError when the range is used up."""
    size = 1 << (network.max_prefixlen - prefix)
    start = int(network.network_address) + index * size
    if prefix < network.prefixlen or start > int(network.broadcast_address):
        raise IndexError(
            f"{network} holds {1 << max(0, prefix - network.prefixlen)} ranges of /{prefix}, not {index + 1}"
        )
    return type(network)((start, prefix))


def overlaps(named: Iterable[tuple[str, IPNetwork]]) -> Iterator[tuple[str, IPNetwork, str, IPNetwork]]:
    """Every pair of ranges that overlap, with their names."""
    for (a, net_a), (b, net_b) in combinations(named, 2):
        if net_a.version == net_b.version and net_a.overlaps(net_b):
            yield a, net_a, b, net_b


def link_local(mac: str) -> IPv6Address:
    """The address IPv6 makes of a MAC (EUI-64): fe80::, the MAC with ff:fe in the middle and its seventh bit turned."""
    raw = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:])
