"""NAME
    flannel-vxlan: Flannel with its VXLAN backend, as it leaves a Node

PACKET PATH
    Pod                Node 1                                        Node 2              Pod
    eth0 ── veth… ── cni0 ── (route) ── flannel.1 ── eth0 ══════ eth0 ── flannel.1 ── cni0 ── veth… ── eth0
                                        inner MACs: flannel.1 → flannel.1
                                        outer: Node → Node, UDP 8472, VNI 1
    Pods of one Node meet on cni0. To a ClusterIP whose backend is on the same Node, br_netfilter translates the
    frame on the bridge itself: it is switched on, TTL and source MAC unchanged, and never routed. The backend's
    reply is a plain switched frame, translated back on the same way. Only if the Node does not know the backend's
    MAC yet does the first packet leave through cni0 itself, and is seen there twice.
    A Node's own packet to a remote Pod leaves with flannel.1's address (10.244.N.0): MASQUERADE took the device's.

KERNEL OBJECTS, on each Node
    flannel.1   VXLAN, nolearning, address PODCIDR's first /32; for every other Node a permanent neighbor (its
                network address → its flannel.1's MAC), an FDB entry (that MAC → its address), an onlink route
    cni0        bridge, PODCIDR's second address; one veth port for each Pod, hairpin on
    chains      FLANNEL-POSTRTG (nat), FLANNEL-FWD (filter)
    in a Pod    eth0 with the range's prefix, default via cni0, and a route to the Pod network via cni0
    IPv6        a second device, flannel-v6.1

MTU
    the uplink's minus 50: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14. Flannel asks for 50 less on IPv6 too,
    where the outer header is 40: the kernel makes flannel-v6.1 70 less, and Pods keep 50

LIMITS
    A real Node has cni0 from its first Pod on, and keeps it; here every Node has it from the start.
    flanneld draws flannel.1's MAC at random and writes it into the Node's annotation; here the seed decides it.

SOURCES
    flannel-io/flannel pkg/backend/vxlan, pkg/trafficmngr/iptables; flannel-io/cni-plugin;
    containernetworking/plugins plugins/main/bridge
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from emu import names
from emu.cluster.model import Cluster, IPAddress, IPNetwork, Node
from emu.errors import InputError, PlanError
from emu.memo import Memo
from emu.plan.merge import Fragment, Rules
from emu.plan.model import (
    Address,
    FdbEntry,
    Link,
    Neighbor,
    NetnsKind,
    NetnsPlan,
    Role,
    Route,
    Sysctl,
    Vxlan,
)
from emu.planners.cni import bridge, flannel_rules

NAME = "flannel-vxlan"
VNI = 1
PORT = 8472  # the Linux driver's own default, older than the RFC's 4789; Flannel leaves it at that
OVERHEAD = {4: 50, 6: 70}
DEVICE = {4: f"flannel.{VNI}", 6: f"flannel-v6.{VNI}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vtep:
    """A Node's end of the overlay in one family."""

    node: str
    device: str
    mac: str
    local: IPAddress  # the Node's address, outer
    subnet: IPNetwork  # its Pods' range; the device has the network address


def plan(cluster: Cluster) -> Iterator[Fragment]:
    _check(cluster)
    underlay = cluster.topology.fabric.mtu
    for family in cluster.families:
        vteps = tuple(_vtep(cluster.seed, node, family) for node in cluster.nodes)
        network = next(range_ for range_ in cluster.pod_ranges if range_.version == family)
        for own in vteps:
            yield _overlay((cluster.name, own.node, family), own, vteps, underlay - OVERHEAD[family])
            for part in flannel_rules.parts(family, network, own.subnet):
                yield Rules(own.node, part)
    yield from bridge.plan(cluster, underlay - OVERHEAD[4])


def _check(cluster: Cluster) -> None:
    for key in cluster.topology.cni.options:
        raise InputError(f"unknown option {key}", subject=f"cni {NAME}", hint="this mode has no options")
    for node in cluster.nodes:
        for family in cluster.families:
            if not any(network.version == family for network in node.pod_cidrs):
                raise PlanError(f"node {node.name} has no Pod range for IPv{family}")


def _vtep(seed: int, node: Node, family: int) -> Vtep:
    device = DEVICE[family]
    return Vtep(
        node=node.name,
        device=device,
        mac=names.mac(device, seed, node.name),
        local=next(address.ip for address in node.addresses if address.ip.version == family),
        subnet=next(network for network in node.pod_cidrs if network.version == family),
    )


def _make_overlay(own: Vtep, vteps: tuple[Vtep, ...], mtu: int) -> NetnsPlan:
    tunnel = Link(
        name=own.device,
        kind="vxlan",
        role=Role.TUNNEL,
        owner=own.node,
        mtu=mtu,
        mac=own.mac,
        qlen=0,  # flanneld leaves the field of its netlink library at 0, which the library sends
        vxlan=Vxlan(vni=VNI, local=own.local, dev=names.UPLINK, port=PORT, learning=False),
    )
    peers = tuple(peer for peer in vteps if peer.node != own.node)
    host = f"{own.subnet.network_address}/{own.subnet.max_prefixlen}"
    return NetnsPlan(
        name=own.node,
        kind=NetnsKind.NODE,
        owner=own.node,
        links=(tunnel,),
        addresses=(Address(dev=own.device, address=ip_interface(host)),),
        routes=tuple(
            Route(dst=peer.subnet, dev=own.device, via=peer.subnet.network_address, onlink=True) for peer in peers
        ),
        neighbors=tuple(Neighbor(dev=own.device, address=peer.subnet.network_address, mac=peer.mac) for peer in peers),
        sysctls=_sysctls(own),
        fdb=tuple(FdbEntry(dev=own.device, mac=peer.mac, dst=peer.local) for peer in peers),
    )


def _sysctls(own: Vtep) -> tuple[Sysctl, ...]:
    """flanneld wants no router advertisement from the overlay."""
    key = f"net.ipv6.conf.{own.device.replace('.', '/')}.accept_ra"
    return (Sysctl(key=key, value="0"),) if own.subnet.version == 6 else ()


_overlay: Memo[NetnsPlan] = Memo(_make_overlay)
