"""What flanneld knows of every Node: its lease, which is its Pod range and its own address. And the route by a Node's
own address, which host-gw makes for all of them and VXLAN with DirectRouting for those on the same link.

Source: flannel-io/flannel pkg/lease, pkg/backend/route_network.go, pkg/ip/iface.go (DirectRouting)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from emu import names
from emu.addressing import IPNetwork
from emu.cluster.model import Cluster, IPInterface, Node
from emu.errors import PlanError
from emu.memo import Memo
from emu.plan.merge import Rules
from emu.plan.model import NetnsKind, NetnsPlan, Refusal, Route
from emu.planners.cni import flannel_rules

#: What `ip route` says of a next hop that is on no link of this host, by family.
NOT_ON_LINK = {4: "Nexthop has invalid gateway", 6: "No route to host"}


@dataclass(frozen=True, slots=True)
class Lease:
    """`public` is the Node's address, with the prefix of its own Node network."""

    node: str
    subnet: IPNetwork
    public: IPInterface


def leases(cluster: Cluster, family: int) -> tuple[Lease, ...]:
    return tuple(_lease(node, family) for node in cluster.nodes)


def _lease(node: Node, family: int) -> Lease:
    subnet = next((network for network in node.pod_cidrs if network.version == family), None)
    if subnet is None:
        raise PlanError(f"node {node.name} has no Pod range for IPv{family}")
    public = next(address for address in node.addresses if address.ip.version == family)
    return Lease(node.name, subnet, public)


def on_link(own: Lease, peer: Lease) -> bool:
    return peer.public.ip in own.public.network


def direct(own: Lease, peer: Lease) -> Route | Refusal:
    """The route to a peer's Pods by its own address. The kernel takes a next hop only where it can be reached without
    another; flanneld logs the refusal and tries again every five seconds."""
    route = Route(dst=peer.subnet, dev=names.UPLINK, via=peer.public.ip)
    if on_link(own, peer):
        return route
    why = f"{peer.public.ip} is across a router, not in {own.node}'s network {own.public.network}"
    return Refusal(route=route, error=NOT_ON_LINK[route.dst.version], why=why)


def _make_routes(own: Lease, leases: tuple[Lease, ...]) -> NetnsPlan:
    made = [direct(own, peer) for peer in leases if peer.node != own.node]
    return NetnsPlan(
        name=own.node,
        kind=NetnsKind.NODE,
        owner=own.node,
        routes=tuple(each for each in made if isinstance(each, Route)),
        refused=tuple(each for each in made if isinstance(each, Refusal)),
    )


#: To the Pods of all other Nodes, each by its own address.
routes: Memo[NetnsPlan] = Memo(_make_routes)


def rules(cluster: Cluster, family: int, own: Lease) -> Iterator[Rules]:
    network = next(range_ for range_ in cluster.pod_ranges if range_.version == family)
    for part in flannel_rules.parts(family, network, own.subnet):
        yield Rules(own.node, part)
