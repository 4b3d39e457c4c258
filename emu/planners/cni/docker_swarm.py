"""NAME
    docker-swarm: Docker on each host, and one overlay network (`docker network create -d overlay`) that joins them

PACKET PATH
    container               network's namespace on host 1     host 1 … host 2      its namespace on host 2
    eth0 ────────────────── vethN ─ br0 ─ vxlan0 ═ (socket) ══ eth0 … eth0 ══ vxlan0 ─ br0 ─ vethN ── eth0
    10.0.1.3/24                     10.0.1.1                                                      10.0.1.4/24
    eth1 ── veth… ─ docker_gwbridge ─ (route, MASQUERADE) ─ eth0
    172.18.0.4/16   172.18.0.1, the same on every host
    To a container of the network, on whichever host: one Ethernet segment, by eth0. ARP for an address of another host
    is answered by vxlan0 itself; the frame goes inside UDP 4789 to that host. Nothing routes it, nothing translates it.
    With endpoint_mode vip a service has an address of the network too. It is its own host's load balancer that answers
    for it, in a namespace beside the network's:
    eth0 10.0.1.4 ── vethN ─ br0 ─ vethM ── eth0 10.0.1.254, 10.0.1.167 ── vethM ─ br0 ─ … to one task, on any host
        to 10.0.1.167:80                    mark, IPVS, SNAT: 10.0.1.254 → 10.0.1.3:80; the answer comes back this way
    To anything else: by eth1 and docker_gwbridge, from the host's address. Between two containers not by this way:
    docker_gwbridge lets none talk to another.

KERNEL OBJECTS
    netns HOST_1-ID  on each host that has a container of the network (/run/docker/netns/1-ID there), in it:
        br0         the network's first address, the same on every host
        vxlan0      VNI 4097 (4096 is the ingress network's), UDP 4789, learning, proxy, l2miss, l3miss; made in the
                    host's own namespace and moved, so that its socket and the outer packets are the host's; no local
                    address: the host's route chooses
        vethN       one for each container there
        neighbors, FDB   permanent, on vxlan0, for each container of another host: its address, its MAC, that host;
                    with vip for the load balancers of other hosts too, and for no virtual address
    netns HOST_lb_ID, with vip (/run/docker/netns/lb_ID there), in it:
        eth0        the load balancer's own address, and each service's as /32
        mangle      INPUT -d VIP -j MARK, of each service: 256 and up
        IPVS        by each mark, rr, masquerading: the tasks; one that is to end has weight 0
        nat         POSTROUTING -d NETWORK -m ipvs --ipvs -j SNAT to its own address
        sysctls     vs.conntrack, vs.expire_nodest_conn, vs.expire_quiescent_template, ip_forward 1;
                    vs.conn_reuse_mode 0
    host            docker0 (172.17.0.1/16, no container on it), docker_gwbridge (172.18.0.1/16); the rules of Docker 28
                    for both, without inter-container communication on docker_gwbridge
    container       eth0, MAC 02:42 and its address; eth1, MAC drawn; default via docker_gwbridge; a name server at
                    127.0.0.11, embedded in dockerd: /etc/resolv.conf has it alone, with ndots:0

NAMES
    A container by its own (web1); a service by its own and by tasks.SERVICE, for which the addresses of its ready
    containers stand, each first in turn; with vip its own name stands for its clusterIP, if it has one and a ready
    container. A service is a Service with a selector; `clusterIP: None` says dnsrr of it alone. What is not in
    namespace default is of a stack: STACK_NAME. TTL 600; an unknown name is SERVFAIL, or what `dns.upstream` says.

OPTIONS
    endpoint_mode: dnsrr (here the default, so that it works on every kernel), or vip, which is Swarm's own default and
    needs the module ip_vs (and ip_vs_rr, xt_ipvs) and root: without them it is refused when the cluster comes up
    vni: of the network (4097)
    mtu: of the network, outer headers included (1500, whatever the uplink has)

BRINGS
    ranges.pods 10.0.1.0/24 (the ingress network has 10.0.0.0/24), proxy none, no cluster DNS, no kubelet's chains.
    With vip the network is the smallest that holds both ranges.pods, 10.0.1.0/25, and ranges.services, 10.0.1.128/26;
    its last addresses are the load balancers', the first host's at the end

MTU
    eth0 1450: VXLAN over IPv4 takes 50. eth1 1500.

LIMITS
    IPv4 only; one network for all containers, whatever their Kubernetes namespace, and it has no name: PTR tells the
    container's alone; no encryption. The ingress network with its routing mesh and published ports is not built, nor
    the network option for direct routing (com.docker.network.driver.overlay.dsr, hidden).
    Swarm gives virtual addresses, tasks' and load balancers' from one range in the order in which they come, and a
    daemon draws marks so; here each has a part of the range, and a mark is 256 and the number of the address in its
    part.
    dockerd listens at 127.0.0.11 on a port it draws, and has rules in the container's namespace lead port 53 there;
    here it is port 53 itself, so that no container can bind that on all addresses.
    Docker draws the numbers of vethN and the addresses on docker_gwbridge in the order in which containers come; here
    they follow from the container's number in the network, so that they are the same in every run.
    What the gossip between dockers (7946) tells is known everywhere at once.

SOURCES
    moby/moby of Docker 28 and later (daemon/libnetwork there: drivers/overlay, service_linux.go): a network's load
    balancer has a namespace of its own since 18.09; before, each container had IPVS in its own
    moby/moby libnetwork/drivers/overlay (ov_network.go, ov_utils.go, joinleave.go, peerdb.go), libnetwork/osl
    (neigh_linux.go), libnetwork/resolver.go, integration/network/bridge/iptablesdoc/generated/swarm-portmap.md;
    moby/swarmkit (VNIs from 4096)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_interface, ip_network
from typing import NamedTuple

from emu import names
from emu.api.topology import Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.model import Cluster, Node, Pod
from emu.memo import Memo
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Address, FdbEntry, Link, Neighbor, NetnsKind, NetnsPlan, Role, Sysctl, Vxlan
from emu.planners import choices, veth
from emu.planners.cni import docker_bridge, docker_rules, docker_swarm_balancer
from emu.planners.cni.docker_bridge import Network
from emu.planners.cni.docker_rules import Bridge, Container
from emu.planners.cni.docker_swarm_balancer import VIP, Balancer
from emu.planners.underlay import ipv6_off

NAME = "docker-swarm"
VNI, PORT, OVERHEAD = 4097, 4789, 50
DEFAULT_MTU = 1500
DOCKER0 = Network(bridge="docker0", range=IPv4Network("172.17.0.0/16"), mtu=DEFAULT_MTU)
GATEWAY = Network(bridge="docker_gwbridge", range=IPv4Network("172.18.0.0/16"), mtu=DEFAULT_MTU)
BRIDGE, TUNNEL = "br0", "vxlan0"
ETH0, ETH1 = "eth0", "eth1"


class Options(NamedTuple):
    endpoint_mode: str = "dnsrr"
    vni: int = VNI
    mtu: int = DEFAULT_MTU


def network_of(topology: Topology) -> IPv4Network:
    """With virtual addresses, what holds the containers' and those."""
    pods = IPv4Network(topology.ranges.pods[0])
    if options_of(topology.cni.options).endpoint_mode != VIP:
        return pods
    return docker_swarm_balancer.network(pods, IPv4Network(topology.ranges.services[0]))


def vips(cluster: Cluster) -> Mapping[tuple[str, str], IPv4Address]:
    """What a service's name stands for, by namespace and name."""
    if options_of(cluster.topology.cni.options).endpoint_mode != VIP:
        return {}
    return {(each.namespace, each.name): each.vip for each in docker_swarm_balancer.services(cluster)}


def check(topology: Topology) -> None:
    options = options_of(topology.cni.options)
    if topology.family != "ipv4":
        raise Wrong(f"is {topology.family}, must be ipv4 with cni {NAME}", "family")
    for field, texts in (("nodes", topology.ranges.nodes), ("pods", topology.ranges.pods)):
        for index, network in enumerate(map(ip_network, texts)):
            for own in (DOCKER0, GATEWAY):
                if network.overlaps(own.range):
                    what = f"is {network}, which overlaps {own.bridge}'s {own.range}"
                    raise Wrong(what, "ranges", field, index)
    if options.endpoint_mode == VIP:
        docker_swarm_balancer.check(topology)
    if network_of(topology).prefixlen <= GATEWAY.range.prefixlen:
        what = f"is {topology.ranges.pods[0]}, must be smaller than {GATEWAY.bridge}'s {GATEWAY.range}"
        raise Wrong(what, "ranges", "pods", 0, hint="each container has an address in both")


def options_of(given: Mapping[str, object]) -> Options:
    known = {"endpoint_mode": ("dnsrr", VIP), "vni": range(4096, 1 << 24), "mtu": range(68 + OVERHEAD, 65536)}
    said = {"endpoint_mode": "dnsrr or vip", "vni": "4096-16777215", "mtu": f"{68 + OVERHEAD}-65535"}
    for key, value in given.items():
        if key not in known:
            raise choices.unknown("cni", NAME, key, known)
        if value not in known[key] or isinstance(value, bool):
            raise Wrong(f"is {shown(value)}, must be {said[key]}", "cni", "options", key)
    return Options(**given)  # type: ignore[arg-type]


class Member(NamedTuple):
    """A container of the network, or the load balancer of a host, as the others know it."""

    owner: str  # a container's key
    netns: str
    node: str
    address: IPv4Address
    number: int  # in the network

    @property
    def mac(self) -> str:
        return names.docker_mac(self.address)

    @property
    def outside(self) -> IPv4Address:
        """On docker_gwbridge: after the gateway and the ingress sandbox."""
        return GATEWAY.range[self.number + 1]


def plan(cluster: Cluster) -> Iterator[Fragment]:
    options = options_of(cluster.topology.cni.options)
    network, id_ = network_of(cluster.topology), names.swarm_id(cluster.seed, "network")
    overlay = _Overlay(network, options, id_)
    members = tuple(_member(network, pod) for pod in cluster.pods)
    vteps = {node.name: node.addresses[0].ip for node in cluster.nodes}
    for node in cluster.nodes:
        yield from _host(cluster, node, tuple(each for each in members if each.node == node.name))
    joined = [node for node in cluster.nodes if any(each.node == node.name for each in members)]
    balancers = tuple(_balancer(network, id_, node) for node in joined if options.endpoint_mode == VIP)
    for node in joined:
        everybody = (*members, *balancers)
        yield _network((cluster.name, node.name), cluster.seed, node.name, overlay, everybody, vteps)
    for each in balancers:
        netns, mtu = names.network_netns(each.node, id_), options.mtu - OVERHEAD
        yield _eth0((cluster.name, each.netns), cluster.seed, each, NetnsKind.NETWORK, netns, network.prefixlen, mtu)
        yield from docker_swarm_balancer.plan(cluster, Balancer(each.netns, network, each.address, ETH0))
    for pod, member in zip(cluster.pods, members, strict=True):
        key = (cluster.name, pod.namespace, pod.name)
        netns = names.network_netns(member.node, id_)
        yield _eth0(key, cluster.seed, member, NetnsKind.POD, netns, network.prefixlen, options.mtu - OVERHEAD)
        yield from _eth1(key, cluster.seed, pod, GATEWAY, ETH1, member.outside)


def _member(network: IPv4Network, pod: Pod) -> Member:
    address = pod.addresses[0]
    assert isinstance(address, IPv4Address)
    netns = names.pod_netns(pod.namespace, pod.name)
    return Member(pod.key, netns, pod.node, address, int(address) - int(network[0]))


def _balancer(network: IPv4Network, id_: str, node: Node) -> Member:
    address = docker_swarm_balancer.address_of(network, node.index)
    netns = names.balancer_netns(node.name, id_)
    return Member(netns, netns, node.name, address, int(address) - int(network[0]))


def _host(cluster: Cluster, node: Node, members: tuple[Member, ...]) -> Iterator[Fragment]:
    key = (cluster.name, node.name)
    for each in (DOCKER0, GATEWAY):
        yield _bridge((*key, each.bridge), cluster.seed, node.name, each)
    containers = tuple(Container(str(each.outside)) for each in members)
    bridges = (Bridge(DOCKER0.bridge, DOCKER0.range), Bridge(GATEWAY.bridge, GATEWAY.range, containers, icc=False))
    yield Rules(node.name, docker_rules.part(key, bridges, 28, True))


class _Overlay(NamedTuple):
    range: IPv4Network
    options: Options
    id: str


def _make_network(
    seed: int, node: str, overlay: _Overlay, members: tuple[Member, ...], vteps: Mapping[str, IPv4Address]
) -> NetnsPlan:
    """Where moby lets bridged frames pass iptables, there are no rules for them: they need not."""
    mtu, own = overlay.options.mtu - OVERHEAD, [each for each in members if each.node == node]
    others = [each for each in members if each.node != node]
    bridge = Link(
        name=BRIDGE, kind="bridge", role=Role.BRIDGE, owner=node, mtu=mtu, mac=names.mac(BRIDGE, seed, node)
    )  # fmt: skip
    vxlan = Vxlan(vni=overlay.options.vni, port=PORT, learning=True, proxy=True, misses=True, socket=node)
    tunnel = Link(
        name=TUNNEL,
        kind="vxlan",
        role=Role.TUNNEL,
        owner=node,
        mtu=mtu,
        mac=names.mac(TUNNEL, seed, node),
        master=BRIDGE,
        vxlan=vxlan,
    )
    not_filtered = (Sysctl(key=f"net.bridge.bridge-nf-call-{each}tables", value="0") for each in ("ip", "ip6", "arp"))
    name = names.network_netns(node, overlay.id)
    return NetnsPlan(
        name=name,
        kind=NetnsKind.NETWORK,
        owner=name,
        links=(bridge, tunnel, *(_link(seed, each, name, mtu)[1] for each in own)),
        addresses=(Address(dev=BRIDGE, address=ip_interface(f"{overlay.range[1]}/{overlay.range.prefixlen}")),),
        neighbors=tuple(Neighbor(dev=TUNNEL, address=each.address, mac=each.mac) for each in others),
        fdb=tuple(FdbEntry(dev=TUNNEL, mac=each.mac, dst=vteps[each.node]) for each in others),
        sysctls=(*ipv6_off((4,)), *not_filtered),
    )


def _link(seed: int, member: Member, network: str, mtu: int) -> tuple[Link, Link]:
    """The container's end, and the one in the netns of the network."""
    far_mac = names.mac("overlay", seed, member.owner)
    return veth.pair(
        veth.End(member.netns, ETH0, Role.POD_ETH, member.owner, member.mac),
        veth.End(network, f"veth{member.number}", Role.HOST_VETH, member.owner, far_mac, BRIDGE),
        mtu,
    )


def _make_eth0(  # noqa: PLR0917 -- what it depends on
    seed: int, member: Member, kind: NetnsKind, network: str, prefixlen: int, mtu: int
) -> NetnsPlan:
    link, _ = _link(seed, member, network, mtu)
    own = Address(dev=ETH0, address=ip_interface(f"{member.address}/{prefixlen}"))
    return NetnsPlan(name=member.netns, kind=kind, owner=member.owner, links=(link,), addresses=(own,))


_bridge: Memo[NetnsPlan] = Memo(docker_bridge.bridge)
_network: Memo[NetnsPlan] = Memo(_make_network)
_eth0: Memo[NetnsPlan] = Memo(_make_eth0, size=1 << 15)
_eth1: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(docker_bridge.link, size=1 << 15)
