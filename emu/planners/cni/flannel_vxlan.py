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
    A Node's own packet to a remote Pod leaves with flannel.1's address (10.244.N.0): the route's device has no other,
    so the kernel chooses it. Sent to a ClusterIP it was given eth0's before the address was translated, and
    MASQUERADE gives it flannel.1's.
    With direct_routing, a Node on the same link is reached as in flannel-host-gw, and only one across a router by
    the tunnel.

KERNEL OBJECTS, on each Node
    flannel.1   VXLAN, nolearning, address PODCIDR's first /32; for every other Node a permanent neighbor (its
                network address → its flannel.1's MAC), an FDB entry (that MAC → its address), an onlink route
                (direct_routing: for a Node on the same link, in place of the three, PODCIDR via its address dev eth0)
    cni0        bridge, PODCIDR's .1, the first host address; one veth port for each Pod, hairpin on
    chains      FLANNEL-POSTRTG (nat), FLANNEL-FWD (filter)
    files       /run/flannel/subnet.env, /etc/cni/net.d/10-flannel.conflist
    in a Pod    eth0 with the range's prefix, default via cni0, and a route to the Pod network via cni0
    IPv6        a second device, flannel-v6.1

MTU
    the uplink's minus 50: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14. Flannel asks for 50 less on IPv6 too,
    where the outer header is 40: the kernel makes flannel-v6.1 70 less, and Pods keep 50.
    direct_routing changes nothing in it: Pods do not know where their packets will go

OPTIONS
    direct_routing: true    Flannel's "DirectRouting": the tunnel only where it is needed

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
from emu.api.topology import Topology
from emu.cluster.model import Cluster, IPAddress
from emu.memo import Memo
from emu.plan.merge import Fragment
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
from emu.planners import choices
from emu.planners.cni import bridge, flannel_files, flannel_lease
from emu.planners.cni.flannel_lease import Lease

NAME = "flannel-vxlan"
DIRECT = "direct_routing"
VNI = 1
PORT = 8472  # the Linux driver's own default, older than the RFC's 4789; Flannel leaves it at that
OVERHEAD = {4: 50, 6: 70}
DEVICE = {4: f"flannel.{VNI}", 6: f"flannel-v6.{VNI}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vtep:
    """A Node's end of the overlay in one family. The device has its lease's network address."""

    lease: Lease
    device: str
    mac: str


def check(topology: Topology) -> None:
    choices.flag("cni", topology.cni.mode, topology.cni.options, DIRECT)
    choices.least_mtu(topology, OVERHEAD)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    direct = bool(cluster.topology.cni.options.get(DIRECT))
    yield from between_nodes(cluster, direct)
    yield from flannel_files.plan(cluster, cluster.topology.fabric.mtu - OVERHEAD[4])
    yield from bridge.plan(cluster, cluster.topology.fabric.mtu - OVERHEAD[4])


def between_nodes(cluster: Cluster, direct: bool) -> Iterator[Fragment]:
    """All that flanneld makes; how Pods are joined is the plugin's matter."""
    underlay = cluster.topology.fabric.mtu
    for family in cluster.families:
        vteps = tuple(_vtep(cluster.seed, lease, DEVICE[family]) for lease in flannel_lease.leases(cluster, family))
        for own in vteps:
            key = (cluster.name, own.lease.node, family)
            yield _overlay(key, own, vteps, underlay - OVERHEAD[family], direct)
            yield from flannel_lease.rules(cluster, family, own.lease)


def _vtep(seed: int, lease: Lease, device: str) -> Vtep:
    return Vtep(lease=lease, device=device, mac=names.mac(device, seed, lease.node))


def _make_overlay(own: Vtep, vteps: tuple[Vtep, ...], mtu: int, direct: bool) -> NetnsPlan:
    lease = own.lease
    peers = tuple(peer for peer in vteps if peer.lease.node != lease.node)
    near = {peer.lease.node for peer in peers if direct and flannel_lease.on_link(lease, peer.lease)}
    far = tuple(peer for peer in peers if peer.lease.node not in near)
    host = ip_interface(f"{lease.subnet.network_address}/{lease.subnet.max_prefixlen}")
    return NetnsPlan(
        name=lease.node,
        kind=NetnsKind.NODE,
        owner=lease.node,
        links=(_tunnel(own, mtu),),
        addresses=(Address(dev=own.device, address=host),),
        routes=tuple(_route(own, peer, peer.lease.node in near) for peer in peers),
        neighbors=tuple(Neighbor(dev=own.device, address=_network(peer), mac=peer.mac) for peer in far),
        sysctls=_sysctls(own),
        fdb=tuple(FdbEntry(dev=own.device, mac=peer.mac, dst=peer.lease.public.ip) for peer in far),
    )


def _tunnel(own: Vtep, mtu: int) -> Link:
    local = own.lease.public.ip
    return Link(
        name=own.device,
        kind="vxlan",
        role=Role.TUNNEL,
        owner=own.lease.node,
        mtu=mtu,
        mac=own.mac,
        qlen=0,  # flanneld leaves the field of its netlink library at 0, which the library sends
        vxlan=Vxlan(vni=VNI, local=local, dev=names.UPLINK, port=PORT, learning=False),
    )


def _route(own: Vtep, peer: Vtep, near: bool) -> Route:
    via, dev = (peer.lease.public.ip, names.UPLINK) if near else (_network(peer), own.device)
    return Route(dst=peer.lease.subnet, dev=dev, via=via, onlink=not near)


def _network(peer: Vtep) -> IPAddress:
    return peer.lease.subnet.network_address


def _sysctls(own: Vtep) -> tuple[Sysctl, ...]:
    """flanneld wants no router advertisement from the overlay."""
    key = f"net.ipv6.conf.{own.device.replace('.', '/')}.accept_ra"
    return (Sysctl(key=key, value="0"),) if own.lease.subnet.version == 6 else ()


_overlay: Memo[NetnsPlan] = Memo(_make_overlay)
