"""NAME
    flannel-host-gw: Flannel with its host-gw backend, as it leaves a Node

PACKET PATH
    Pod                Node 1                               Node 2              Pod
    eth0 ── veth… ── cni0 ── (route) ── eth0 ────────── eth0 ── (route) ── cni0 ── veth… ── eth0
                                        Pod → Pod, naked: every Node is a gateway to its own Pods
    On one Node: as in flannel-vxlan, over cni0.
    A Node's own packet to a remote Pod leaves with the Node's address: there is no other on the way out.

KERNEL OBJECTS, on each Node
    routes      for every other Node: PODCIDR via its address dev eth0
    cni0        bridge, PODCIDR's .1, the first host address; one veth port for each Pod, hairpin on
    chains      FLANNEL-POSTRTG (nat), FLANNEL-FWD (filter)
    files       /run/flannel/subnet.env, /etc/cni/net.d/10-flannel.conflist
    in a Pod    eth0 with the range's prefix, default via cni0, and a route to the Pod network via cni0

MTU
    the uplink's: nothing is put around a packet

LIMITS
    Nodes must share a link. A next hop across a router is none: the kernel refuses such a route ("Nexthop has
    invalid gateway"), flanneld logs it and goes on. The plan holds these routes as refusals, tries them, and
    predicts what is left: the packet takes the Node's default route to a router, which has not heard of Pods.
    It drops a packet from a Pod without a word, for it has no route back to the Pod either; a Node's own packet
    it answers with ICMP net unreachable.
    A real Node has cni0 from its first Pod on, and keeps it; here every Node has it from the start.

SOURCES
    flannel-io/flannel pkg/backend/hostgw, pkg/backend/route_network.go, pkg/trafficmngr/iptables;
    flannel-io/cni-plugin; containernetworking/plugins plugins/main/bridge; linux net/ipv4/fib_semantics.c
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.topology import Topology
from emu.cluster.model import Cluster
from emu.plan.merge import Fragment
from emu.planners import choices
from emu.planners.cni import bridge, flannel_files, flannel_lease

NAME = "flannel-host-gw"


def check(topology: Topology) -> None:
    choices.flag("cni", NAME, topology.cni.options)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    for family in cluster.families:
        leases = flannel_lease.leases(cluster, family)
        for own in leases:
            yield flannel_lease.routes((cluster.name, own.node, family), own, leases)
            yield from flannel_lease.rules(cluster, family, own)
    yield from flannel_files.plan(cluster, cluster.topology.fabric.mtu)
    yield from bridge.plan(cluster, cluster.topology.fabric.mtu)
