"""NAME
    canal: Calico's Pods and policies, Flannel's VXLAN between Nodes

PACKET PATH
    Pod                Node 1                                          Node 2             Pod
    eth0 ── cali… ── (route) ── flannel.1 ── eth0 ══════ eth0 ── flannel.1 ── (route) ── cali… ── eth0
                                outer: Node → Node, UDP 8472, VNI 1
    On the Node as in calico-vxlan: no bridge, ARP for 169.254.1.1 answered by proxy, Pods of one Node are routed.
    Between Nodes as in flannel-vxlan: one route for each other Node's podCIDR.

KERNEL OBJECTS, on each Node
    files       /run/flannel/subnet.env, /etc/cni/net.d/10-canal.conflist, /var/lib/calico/mtu and nodename
    flannel.1   with its neighbors, FDB entries and routes, FLANNEL-POSTRTG, FLANNEL-FWD: flannel-vxlan's
    cali…       with its route to the Pod's /32 and its sysctls, and the cali-… chains: calico-vxlan's. There is no pool
                of Calico's, so cali-nat-outgoing is empty, and there are no blocks and no blackholes
    addresses   of the Node's podCIDR, by host-local: the first Pod has .2

MTU
    flannel.1: the uplink's minus 50. Pods: the uplink's, for Felix finds out what they may have by the tunnels that it
    knows, and flannel.1 is not its own. So a Pod's first full-sized packet to another Node is answered "fragmentation
    needed" by its own Node, which keeps TCP going; veth_mtu: 1450 spares that, and RKE2 sets it

OPTIONS
    direct_routing: true    Flannel's "DirectRouting"
    veth_mtu: 1450          canal.yaml's veth_mtu: the MTU of Pods; 0, the default there and here: found out by Felix

LIMITS
    Those of flannel-vxlan and of calico-vxlan's rules. Without blackholes a packet for an address of its own podCIDR
    that no Pod has leaves the Node by its default route.
    canal.yaml switches Felix's IPv6 off (FELIX_IPV6SUPPORT); with IPv6 in the cluster it is on here.

SOURCES
    projectcalico/calico manifests/canal.yaml, felix/dataplane/linux/int_dataplane.go (determinePodMTU); those of
    flannel-vxlan and calico-vxlan
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.topology import Topology
from emu.cluster.model import Cluster
from emu.plan.merge import Fragment
from emu.planners import choices
from emu.planners.cni import calico_files, calico_options, calico_rules, calico_wiring, flannel_files, flannel_vxlan

NAME = "canal"


def check(topology: Topology) -> None:
    choices.flag("cni", NAME, topology.cni.options, flannel_vxlan.DIRECT, others=(calico_options.VETH_MTU,))
    calico_options.check_veth_mtu(topology)
    choices.least_mtu(topology, flannel_vxlan.OVERHEAD)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    underlay = cluster.topology.fabric.mtu
    direct = bool(cluster.topology.cni.options.get(flannel_vxlan.DIRECT))
    yield from flannel_vxlan.between_nodes(cluster, direct)
    yield from calico_rules.plan(cluster, {}, pools=False)
    mtu = calico_options.veth_mtu(cluster.topology.cni.options, underlay)
    yield from flannel_files.plan(cluster, underlay - flannel_vxlan.OVERHEAD[4], conflist=False)
    yield from calico_files.plan(cluster, mtu, "10-canal", calico_files.RANGE)
    yield from calico_wiring.plan(cluster, mtu)
