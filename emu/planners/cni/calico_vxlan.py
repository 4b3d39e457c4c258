"""NAME
    calico-vxlan: Calico with a VXLAN pool, no BGP; Felix makes all routes

PACKET PATH
    Pod                Node 1                                             Node 2             Pod
    eth0 ── cali… ── (route) ── vxlan.calico ── eth0 ══════ eth0 ── vxlan.calico ── (route) ── cali… ── eth0
                                inner MACs: vxlan.calico → vxlan.calico
                                outer: Node → Node, UDP 4789, VNI 4096
    No bridge: a packet to a Pod of the same Node is routed too, cali… → cali…, and arrives with a TTL of 63.
    The Pod's gateway 169.254.1.1 is nobody's: cali… answers ARP for it (proxy ARP) with ee:ee:ee:ee:ee:ee, because the
    Node has a route to it, its default route.
    A Node's own packet to a remote Pod leaves with vxlan.calico's address: the route chose it, or where a Service's
    address had chosen another, cali-POSTROUTING masquerades. What leaves the pool is masqueraded by cali-nat-outgoing.
    With cross_subnet, a Node of the same subnet is reached by its own address, without the tunnel.

KERNEL OBJECTS, on each Node
    vxlan.calico    VXLAN, nolearning, the first address of the Node's first block as /32, a MAC made of the Node's
                    name; for every other Node a permanent neighbor (its tunnel address → its MAC), an FDB entry (that
                    MAC → its address), and for each of its blocks an onlink route via its tunnel address
    blackhole       for each block of its own, proto 80: a packet for an address nobody has ends here
    cali…           one for each Pod, MAC ee:ee:ee:ee:ee:ee, no address, proxy_arp; a route to the Pod's /32
    sets            cali40masq-ipam-pools, cali40all-ipam-pools, cali40all-vxlan-net
    chains          cali-… in raw, mangle, nat and filter (calico_chains, calico_endpoints); VXLAN is not tracked
    files           /etc/cni/net.d/10-calico.conflist, /var/lib/calico/mtu and nodename
    in a Pod        eth0 with a /32, 169.254.1.1 dev eth0 scope link, default via 169.254.1.1
    IPv6            a second device, vxlan-v6.calico; a Pod's gateway is fe80::ecee:eeff:feee:eeee, cali…'s own

MTU
    the uplink's minus 50: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14; 70 with IPv6, whose header has 40. Pods
    have the smaller one of the families of the cluster. cross_subnet changes nothing in it. With veth_mtu both are as
    it says, but that the kernel gives the tunnel no more than it has room for

OPTIONS
    cross_subnet: true    Calico's vxlanMode CrossSubnet: the tunnel only where a router is between
    block_size: 26        prefix length of an IPv4 block
    veth_mtu: 1430        calico.yaml's veth_mtu: the MTU of Pods and tunnels; 0, the default: found out by Felix

LIMITS
    Blocks start where a Node's podCIDR does; Calico draws the place (cluster.ipam.calico).
    Felix's rules are those of a cluster without policies and host endpoints; the failsafe chains, which nothing refers
    to then, are not in the kernel of a real Node either. Every Pod has the service account `default`.
    No WireGuard, no eBPF dataplane. Felix switches checksum offload of vxlan.calico off (`ethtool -K`); here it is on.

SOURCES
    projectcalico/calico felix/dataplane/linux/vxlan_mgr.go, felix/calc (vxlan_resolver.go, l3_route_resolver.go),
    felix/rules, cni-plugin, libcalico-go/lib/ipam
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from emu import names
from emu.addressing import IPNetwork
from emu.api.topology import Topology
from emu.cluster.model import Cluster, IPAddress, IPInterface, Node
from emu.memo import Memo
from emu.plan.merge import Fragment
from emu.plan.model import Address, FdbEntry, Link, Neighbor, NetnsKind, NetnsPlan, Role, Route, Sysctl, Vxlan
from emu.planners import choices
from emu.planners.cni import calico_blocks, calico_files, calico_options, calico_rules, calico_wiring
from emu.planners.cni.calico_rules import Tunnel

NAME = "calico-vxlan"
VNI = 4096
PORT = 4789
OVERHEAD = {4: 50, 6: 70}
DEVICE = {4: "vxlan.calico", 6: "vxlan-v6.calico"}
TUNNELS = {family: Tunnel("vxlan", device) for family, device in DEVICE.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vtep:
    """A Node's end of the overlay in one family: its tunnel address, its own address with the prefix of its Node
    network, and what the others send to it."""

    node: str
    address: IPAddress
    public: IPInterface
    mac: str
    announced: tuple[IPNetwork, ...]


def check(topology: Topology) -> None:
    calico_options.check(topology, calico_options.CROSS_SUBNET, others=(calico_options.VETH_MTU,))
    calico_options.check_veth_mtu(topology)
    choices.least_mtu(topology, OVERHEAD)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    near = bool(cluster.topology.cni.options.get(calico_options.CROSS_SUBNET))
    underlay = cluster.topology.fabric.mtu
    announced = calico_blocks.announced(cluster)
    for family in cluster.families:
        vteps = tuple(_vtep(node, family, announced[node.name]) for node in cluster.nodes)
        for own in vteps:
            room = underlay - OVERHEAD[family]
            mtu = min(room, calico_options.veth_mtu(cluster.topology.cni.options, room))
            yield _overlay((cluster.name, own.node, family), own, vteps, mtu, near)
    for node in cluster.nodes:
        yield calico_blocks.blackholes(node, calico_blocks.FELIX)
    yield from calico_rules.plan(cluster, TUNNELS)
    found_out = underlay - max(OVERHEAD[family] for family in cluster.families)
    mtu = calico_options.veth_mtu(cluster.topology.cni.options, found_out)
    yield from calico_files.plan(cluster, mtu)
    yield from calico_wiring.plan(cluster, mtu)


def _vtep(node: Node, family: int, announced: tuple[IPNetwork, ...]) -> Vtep:
    return Vtep(
        node=node.name,
        address=next(address for address in node.tunnel_addresses if address.version == family),
        public=next(address for address in node.addresses if address.version == family),
        mac=names.vxlan_calico_mac(node.name, family),
        announced=calico_blocks.of_family(announced, family),
    )


def _make_overlay(own: Vtep, vteps: tuple[Vtep, ...], mtu: int, near: bool) -> NetnsPlan:
    family = own.address.version
    device = DEVICE[family]
    peers = tuple(peer for peer in vteps if peer.node != own.node)
    routes = (_route(own, peer, network, near) for peer in peers for network in peer.announced)
    return NetnsPlan(
        name=own.node,
        kind=NetnsKind.NODE,
        owner=own.node,
        links=(_tunnel(own, device, mtu),),
        addresses=(Address(dev=device, address=ip_interface(own.address)),),
        routes=tuple(routes),
        neighbors=tuple(Neighbor(dev=device, address=peer.address, mac=peer.mac) for peer in peers),
        fdb=tuple(FdbEntry(dev=device, mac=peer.mac, dst=peer.public.ip) for peer in peers),
        sysctls=(Sysctl(key=f"net.ipv6.conf.{device.replace('.', '/')}.accept_ra", value="0"),) if family == 6 else (),
    )


def _tunnel(own: Vtep, device: str, mtu: int) -> Link:
    return Link(
        name=device,
        kind="vxlan",
        role=Role.TUNNEL,
        owner=own.node,
        mtu=mtu,
        mac=own.mac,
        qlen=0,  # Felix leaves the field of its netlink library at 0, which the library sends
        vxlan=Vxlan(vni=VNI, local=own.public.ip, dev=names.UPLINK, port=PORT, learning=False),
    )


def _route(own: Vtep, peer: Vtep, network: IPNetwork, near: bool) -> Route:
    if near and peer.public.ip in own.public.network:
        return Route(dst=network, dev=names.UPLINK, via=peer.public.ip, protocol=calico_blocks.FELIX, onlink=True)
    return Route(dst=network, dev=DEVICE[network.version], via=peer.address, onlink=True)


_overlay: Memo[NetnsPlan] = Memo(_make_overlay)
