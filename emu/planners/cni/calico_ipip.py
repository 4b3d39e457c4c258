"""NAME
    calico-ipip: Calico with an IPIP pool: routes by BGP, through a tunnel

PACKET PATH
    Pod                Node 1                                          Node 2             Pod
    eth0 ── cali… ── (route) ── tunl0 ── eth0 ═══════════════ eth0 ── tunl0 ── (route) ── cali… ── eth0
                                         outer: Node → Node, IP protocol 4; nothing between the two IP headers
    No bridge: a packet to a Pod of the same Node is routed too, cali… → cali…, and arrives with a TTL of 63, from
    another Node with one of 62.
    A Node's own packet to a remote Pod leaves with tunl0's address: the route chose it, or where a Service's address
    had chosen another, cali-POSTROUTING masquerades.
    With cross_subnet, a Node of the same subnet is reached by its own address, without the tunnel.

KERNEL OBJECTS, on each Node
    bird        as in calico-bgp
    tunl0       ipip, remote any, the first address of the Node's first block as /32. The outer destination is the
                gateway of the route: the tunnel has no table of its own
    routes      proto bird: for each block of other Nodes `BLOCK via NODE dev tunl0 onlink`, and for each block of this
                Node a blackhole, behind the /32 routes to its Pods. They are BIRD's: the plan expects them
    cali…       one for each Pod, MAC ee:ee:ee:ee:ee:ee, no address, proxy_arp; a route to the Pod's /32
    sets        cali40masq-ipam-pools, cali40all-ipam-pools, cali40all-hosts-net (whose protocol 4 is let in)
    chains      cali-… in raw, mangle, nat and filter
    files       /etc/cni/net.d/10-calico.conflist, /var/lib/calico/mtu and nodename
    in a Pod    eth0 with a /32, 169.254.1.1 dev eth0 scope link, default via 169.254.1.1

BY MODULE OR BY eBPF
    Where the kernel's ipip module is loaded, every namespace is born with a tunl0, and that one is taken. Elsewhere
    tunl0 is a TUN device with the same settings, and two of our programs do the module's work:
        tunl0 egress    ipip_encap: asks the routing table for the gateway, puts the outer header on, redirects to eth0
        eth0 ingress    ipip_decap: takes the outer header off and lets the packet come in by tunl0
    The bytes on the wire are the same: TTL of the inner packet, DF copied, TOS 0 with its ECN, RFC 6040 on the way in.
    What differs is on the Nodes: programs stand before netfilter on the way in and behind it on the way out, so that
    the outer packets meet no rule and no conntrack there (with the module they pass OUTPUT and POSTROUTING, PREROUTING
    and INPUT); tunl0 counts what it sends as dropped, and does not count what it receives; an outer packet that a
    router has cut in pieces is not put together.

MTU
    the uplink's minus 20. cross_subnet changes nothing in it.

OPTIONS
    cross_subnet: true           Calico's ipipMode CrossSubnet: the tunnel only where a router is between
    route_reflectors: [node1]    as in calico-bgp
    block_size: 26               prefix length of an IPv4 block

LIMITS
    IPIP carries IPv4 alone: in a dual-stack cluster IPv6 goes as in calico-bgp, as in reality.
    Blocks start where a Node's podCIDR does; Calico draws the place (cluster.ipam.calico).
    BIRD 2 has no krt_tunnel, Calico's addition: a table in which next hops are looked up stands for it.
    The ipip module cannot be loaded while a testbed has a TUN device of the name tunl0.
    With the module, tunl0 is a Node's oldest link, so that what has no address of its own (the Pods' links) lends
    tunl0's: a Node speaks to its own Pods with that one. On a real Node eth0 is older, and speaks.

SOURCES
    projectcalico/calico felix/dataplane/linux/ipip_mgr.go, confd/etc/calico/confd/templates, felix/rules;
    linux net/ipv4/ipip.c, ip_tunnel.c; RFC 2003, RFC 6040
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from emu.addressing import IPAddress
from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster.model import Cluster
from emu.plan.merge import Fragment
from emu.plan.model import IpipBy
from emu.planners import choices
from emu.planners.cni import bird, calico_files, calico_options, calico_rules, calico_wiring, ipip
from emu.planners.cni.calico_rules import Tunnel

NAME = "calico-ipip"


def check(topology: Topology) -> None:
    if topology.family == "ipv6":
        raise Wrong("is ipv6, but IPIP carries IPv4 alone", "family", hint="cni: calico-vxlan or calico-bgp")
    calico_options.check(topology, calico_options.CROSS_SUBNET, others=(bird.REFLECTORS,))
    bird.check(topology)
    choices.least_mtu(topology, {4: ipip.OVERHEAD})


def plan(cluster: Cluster) -> Iterator[Fragment]:
    underlay = cluster.topology.fabric.mtu
    cross_subnet = bool(cluster.topology.cni.options.get(calico_options.CROSS_SUBNET))
    by = IpipBy.MODULE if cluster.ipip_module else IpipBy.EBPF
    for node in cluster.nodes:
        ends = _ipv4(each.ip for each in node.addresses), _ipv4(node.tunnel_addresses)
        yield ipip.tunnel((cluster.name, node.name), node.name, *ends, underlay, by)
    tunnel = bird.Tunnel(device=ipip.DEVICE, cross_subnet=cross_subnet)
    yield from bird.plan(cluster, tunnel)
    yield from calico_rules.plan(cluster, {4: Tunnel("ipip", ipip.DEVICE)})
    yield from calico_files.plan(cluster, underlay - ipip.OVERHEAD)
    yield from calico_wiring.plan(cluster, underlay - ipip.OVERHEAD)


def _ipv4(addresses: Iterable[IPAddress]) -> IPv4Address:
    return next(address for address in addresses if isinstance(address, IPv4Address))


def notes(cluster: Cluster) -> Iterator[str]:
    if cluster.ipip_module:
        yield "tunl0 is the ipip module's, which has put one into every network namespace"
    else:
        yield "the ipip module is not loaded: tunl0 is a TUN device, and eBPF programs at tc do the module's work"
