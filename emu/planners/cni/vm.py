"""NAME
    vm: machines on the Node network, as before containers; no Pod network at all

PACKET PATH
    VM on node1                 switch of node1 ─ … ─ switch of node2            VM on node2
    eth0 ─────────────────── tap…                                  tap… ─────────────────── eth0
    192.168.100.101/24                                                                192.168.100.102/24
    To every other VM and Node: one Ethernet segment. ARP for the address, and the frame goes there; the same whether
    they run on one Node or on two. Nothing is translated, nothing put around a packet, no Node routes.
    To a Service: nowhere. Its address takes the default route.

KERNEL OBJECTS
    VM          eth0 with the Node network's prefix, default via its gateway; MAC 52:54:00 and three bytes drawn
    fabric      tap + 11 hex digits, a port of the switch of the Node that the VM runs on
    Nodes       nothing: they are where VMs run. The VM's adapter is on the switch itself, as by a bridge without
                addresses, or by SR-IOV

OPTIONS
    none

BRINGS
    ranges.pods the same as ranges.nodes, proxy none, no cluster DNS, no kubelet's chains

ADDRESSES
    In order, from number 101 of the network on (192.168.100.101), going round; or the one that the manifest asks for
    (annotation kube-emu.io/ip). They are written down at both ends: nobody tells a client that a server
    has another one now. That is what a Service is for.

MTU
    the uplink's

LIMITS
    IPv4 only, one Node network. A machine is a Pod's namespaces: it has no kernel of its own.

SOURCES
    libvirt: the prefix 52:54:00 of its MACs; OpenStack Neutron: tap + the first 11 characters of the port's id
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_interface
from typing import NamedTuple

from emu import names
from emu.addressing import EVERYTHING
from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster.model import Cluster, IPAddress, Pod
from emu.cluster.nodes import gateway_of
from emu.memo import Memo
from emu.plan.merge import Fragment
from emu.plan.model import Address, NetnsKind, NetnsPlan, Role, Route
from emu.planners import choices, veth

NAME = "vm"


def check(topology: Topology) -> None:
    choices.flag("cni", NAME, topology.cni.options)
    if topology.family != "ipv4":
        raise Wrong(f"is {topology.family}, must be ipv4 with cni {NAME}", "family")


def plan(cluster: Cluster) -> Iterator[Fragment]:
    network = cluster.node_ranges[0]
    assert isinstance(network, IPv4Network)
    gateway = gateway_of(cluster.topology, network)
    mtu = cluster.topology.fabric.mtu
    segments = {node.name: _Segment(network, gateway, node.switch, mtu) for node in cluster.nodes}
    for pod in cluster.pods:
        yield from _machine((cluster.name, pod.namespace, pod.name), cluster.seed, pod, segments[pod.node])


class _Segment(NamedTuple):
    network: IPv4Network
    gateway: IPAddress
    switch: str  # where machines of this Node are plugged in
    mtu: int


def _make_machine(seed: int, pod: Pod, segment: _Segment) -> tuple[NetnsPlan, NetnsPlan]:
    plugged = veth.End(
        netns=names.FABRIC_NETNS,
        dev=names.tap(seed, pod.namespace, pod.name),
        role=Role.FABRIC,
        owner=segment.switch,
        mac=names.mac("tap", seed, pod.namespace, pod.name),
        master=segment.switch,
    )
    inside, port = veth.pair(veth.in_pod(pod, names.vm_mac(seed, pod.namespace, pod.name)), plugged, segment.mtu)
    own = ip_interface(f"{pod.addresses[0]}/{segment.network.prefixlen}")
    return (
        NetnsPlan(
            name=names.pod_netns(pod.namespace, pod.name),
            kind=NetnsKind.POD,
            owner=pod.key,
            links=(inside,),
            addresses=(Address(dev=names.POD_ETH, address=own),),
            routes=(Route(dst=EVERYTHING[4], dev=names.POD_ETH, via=segment.gateway),),
        ),
        NetnsPlan(name=names.FABRIC_NETNS, kind=NetnsKind.FABRIC, owner=names.FABRIC_NETNS, links=(port,)),
    )


_machine: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(_make_machine, size=1 << 15)
