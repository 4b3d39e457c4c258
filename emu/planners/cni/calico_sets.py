"""The sets that Felix's rules ask: the pools of addresses, and whose tunnel packets are let in.

Source: projectcalico/calico felix/rules/rule_defs.go (names), felix/dataplane/linux (masq_mgr.go, vxlan_mgr.go,
ipip_mgr.go)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from emu.addressing import IPNetwork
from emu.cluster.model import Cluster, Node
from emu.netfilter.model import IpSet

MASQUERADED, POOLS = "masq-ipam-pools", "all-ipam-pools"
PEERS = {"vxlan": "all-vxlan-net", "ipip": "all-hosts-net"}
MOST = 1048576  # Felix's MaxIpsetSize


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A mode's tunnel in one family. `kind` is vxlan or ipip."""

    kind: str
    device: str


def name(family: int, of: str) -> str:
    return f"cali{family}0{of}"


def sets(cluster: Cluster, node: Node, family: int, tunnel: Tunnel | None, pool: IPNetwork | None) -> Iterator[IpSet]:
    """A pool of IPv6 is not masqueraded unless somebody asks for it; without Calico's IPAM there is no pool."""
    pools = frozenset([str(pool)] if pool else [])
    yield _set(family, MASQUERADED, pools if family == 4 else frozenset())
    yield _set(family, POOLS, pools)
    if tunnel:
        # VXLAN lets in the other Nodes, IPIP all that Calico knows, the Node itself among them.
        peers = [each for each in cluster.nodes if tunnel.kind == "ipip" or each.name != node.name]
        found = (str(each.ip) for peer in peers for each in peer.addresses if each.version == family)
        yield _set(family, PEERS[tunnel.kind], frozenset(found))


def _set(family: int, of: str, members: frozenset[str]) -> IpSet:
    return IpSet(name=name(family, of), type="hash:net", family=family, members=members, maxelem=MOST)
