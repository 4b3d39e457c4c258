"""NAME
    calico-bgp: Calico without encapsulation: routes by BGP

PACKET PATH
    Pod                Node 1                                  Node 2                  Pod
    eth0 ── cali… ── (route) ── eth0 ═══════════════════════ eth0 ── (route) ── cali… ── eth0
                                Pod → Pod, naked: Pod addresses on the Node network
    No bridge: a packet to a Pod of the same Node is routed too, and arrives with a TTL of 63, from another Node with
    one of 62.
    A Node's own packet to a remote Pod leaves with the Node's address: there is no other on the way out.

KERNEL OBJECTS, on each Node
    bird        one process, with a BGP session (TCP 179, AS 64512, iBGP) to every other Node, or to the route
                reflectors; its files in the Node's own /run/bird
    routes      proto bird: for each block of other Nodes `BLOCK via NODE dev eth0`, and for each block of this Node a
                blackhole, behind the /32 routes to its Pods. They are BIRD's: the plan expects them, and writes none
    cali…       one for each Pod, MAC ee:ee:ee:ee:ee:ee, no address, proxy_arp; a route to the Pod's /32
    sets        cali40masq-ipam-pools, cali40all-ipam-pools
    chains      cali-… in raw, mangle, nat and filter, without those for a tunnel
    files       /etc/cni/net.d/10-calico.conflist, /var/lib/calico/mtu and nodename
    in a Pod    eth0 with a /32, 169.254.1.1 dev eth0 scope link, default via 169.254.1.1

MTU
    the uplink's: nothing is put around a packet

OPTIONS
    route_reflectors: [node1]    these Nodes pass on what they hear (cluster id 244.0.0.1); the others have sessions
                                 with them alone. Without it all have sessions with each other, up to 50 Nodes
    block_size: 26               prefix length of an IPv4 block

LIMITS
    The network between the Nodes must carry Pod addresses. Across a router BIRD makes the route by the gateway, for
    that is the way to the Node that said it; a router that takes no part in BGP has not heard of Pods and drops the
    packet. (Calico there peers with the router, or encapsulates: cross_subnet of calico-ipip and calico-vxlan.)
    BIRD that is killed: its peers see the connection end and withdraw its routes at once, for there is no graceful
    restart; the routes it had put into its own kernel stay. One that is cut off is given up after the hold time, 240 s.
    On a real Node runit starts it again within a second; here it stays dead until it is mended (`emu check --repair`,
    `mend`), so that one can look.

SOURCES
    projectcalico/calico confd/etc/calico/confd/templates, node/filesystem/etc/service/available/bird; BIRD 2.0
    User's Guide; RFC 4271, RFC 4456
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.topology import Topology
from emu.cluster.model import Cluster
from emu.plan.merge import Fragment
from emu.planners.cni import bird, calico_files, calico_options, calico_rules, calico_wiring

NAME = "calico-bgp"


def check(topology: Topology) -> None:
    calico_options.check(topology, others=(bird.REFLECTORS,))
    bird.check(topology)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    yield from bird.plan(cluster)
    yield from calico_rules.plan(cluster, {})
    yield from calico_files.plan(cluster, cluster.topology.fabric.mtu)
    yield from calico_wiring.plan(cluster, cluster.topology.fabric.mtu)
