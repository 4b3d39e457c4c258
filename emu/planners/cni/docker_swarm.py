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
    To a published port of any host, with vip (the routing mesh), whether a container of the service is there or not:
    eth0 192.168.100.13 ─ DNAT ─ docker_gwbridge ── eth1 172.18.0.2   ingress_sbox   eth0 10.0.0.252 ── vethN ─ br0 ─ …
        to 192.168.100.13:8080                      mark, IPVS, SNAT: 10.0.0.252 → 10.0.0.2:8080
    … ═ VXLAN 4096 ═ … br0 ─ vethN ── eth1 10.0.0.2 of a task, where REDIRECT makes 80 of 8080; the answer comes back
    this way, so that the task sees the sandbox of the host that was asked, and not who asked.

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
    netns HOST_1-ID, with vip, of the ingress network too, on every host: VNI 4096, 10.0.0.0/24, the same else
    netns HOST_ingress_sbox, with vip, on every host, whether it has containers or not:
        eth0        in the ingress network; the addresses that services which publish have there, as /32
        eth1        172.18.0.2 on docker_gwbridge; default via 172.18.0.1
        mangle      PREROUTING --dport PUBLISHED -j MARK, of each port; INPUT -d VIP -j MARK
        IPVS, nat, sysctls   as in HOST_lb_ID, with the tasks' addresses in the ingress network
    host, while a published port leads to a task:
        nat         DOCKER-INGRESS, from PREROUTING and OUTPUT for local destinations, before DOCKER: DNAT to
                    172.18.0.2; POSTROUTING -o docker_gwbridge from the host's own addresses: MASQUERADE
        filter      DOCKER-INGRESS, first of DOCKER-FORWARD: lets the port pass, and answers from it
        sysctl      conf.docker_gwbridge.route_localnet 1, for 127.0.0.1
    container of a service that publishes: eth1 in the ingress network, and docker_gwbridge is eth2;
        nat         PREROUTING -d ITS-ADDRESS-THERE --dport PUBLISHED -j REDIRECT --to-ports TARGET
        filter      INPUT, OUTPUT: of TCP, UDP and SCTP by that address, TARGET alone
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
    ingress: with vip, the range of the ingress network (10.0.0.0/24); as large as the network at least

PUBLISHED PORTS
    Annotation of a Service, with vip: kube-emu.io/publish: "8080:80, 5353:53/udp", as `docker service create --publish`
    has it; every port is given, none drawn. The target is a port of the containers, whatever spec.ports says. With
    dnsrr, and of a Service with clusterIP None, it is refused, as Swarm does; so is a port that another Service has.
    `mode: host` is not built (hostPort is refused).

BRINGS
    ranges.pods 10.0.1.0/24 (the ingress network has 10.0.0.0/24 with vip), proxy none, no cluster DNS, no kubelet's
    chains. With vip the network is the smallest that holds both ranges.pods, 10.0.1.0/25, and ranges.services,
    10.0.1.128/26; its last addresses are the load balancers', the first host's at the end

MTU
    eth0 1450: VXLAN over IPv4 takes 50. eth1 1500.

LIMITS
    IPv4 only; one network for all containers, whatever their Kubernetes namespace, and it has no name: PTR tells the
    container's alone; no encryption. The network option for direct routing (com.docker.network.driver.overlay.dsr,
    hidden) is not built. With dnsrr there is no ingress network, which a Swarm has always: it would ask for ip_vs.
    For a container's links the network's name stands before `ingress`: they are in the order of the names (of other
    names eth0 and eth1 change places; before 28 they came in any order).
    Swarm makes a service's containers anew when what it publishes changes; here they get the link, or lose it, as they
    run. DOCKER-INGRESS goes with the last task; dockerd leaves it empty, and takes the ports from it alone.
    dockerd listens at each published port of the host, so that no other program takes it; here nobody does. It knows
    no readiness but a container's health; here a task that is not ready is sent nothing.
    /etc/hosts has the container's address in the network alone, not that in the ingress network.
    Swarm gives virtual addresses, tasks' and load balancers' from one range in the order in which they come, and a
    daemon draws marks so; here each has a part of the range, and a mark is 256 and the number of the address in its
    part; in the ingress network, where everybody has the number that it has in the network, marks follow those.
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
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import NamedTuple

from emu import names
from emu.api.topology import Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.model import Cluster, Node, Pod
from emu.memo import Memo
from emu.plan.merge import Fragment, Rules
from emu.plan.model import NetnsKind, NetnsPlan
from emu.planners import choices
from emu.planners.cni import (
    docker_bridge,
    docker_rules,
    docker_swarm_balancer,
    docker_swarm_ingress,
    docker_swarm_network,
)
from emu.planners.cni.docker_bridge import Network
from emu.planners.cni.docker_rules import Bridge, Container
from emu.planners.cni.docker_swarm_balancer import VIP, Balancer
from emu.planners.cni.docker_swarm_ingress import Mesh
from emu.planners.cni.docker_swarm_network import ETH0, Member, Overlay

NAME = "docker-swarm"
VNI, OVERHEAD = 4097, 50
DEFAULT_MTU = 1500
DOCKER0 = Network(bridge="docker0", range=IPv4Network("172.17.0.0/16"), mtu=DEFAULT_MTU)
GATEWAY = Network(bridge="docker_gwbridge", range=IPv4Network("172.18.0.0/16"), mtu=DEFAULT_MTU)
ETH1, ETH2 = "eth1", "eth2"


class Options(NamedTuple):
    endpoint_mode: str = "dnsrr"
    vni: int = VNI
    mtu: int = DEFAULT_MTU
    ingress: str = docker_swarm_ingress.RANGE


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
        _check_ingress(topology, options)
    elif "ingress" in topology.cni.options:
        what = f"is {options.ingress}, and only with endpoint_mode vip there is one"
        raise Wrong(what, "cni", "options", "ingress")
    if network_of(topology).prefixlen <= GATEWAY.range.prefixlen:
        what = f"is {topology.ranges.pods[0]}, must be smaller than {GATEWAY.bridge}'s {GATEWAY.range}"
        raise Wrong(what, "ranges", "pods", 0, hint="each container has an address in both")


def _check_ingress(topology: Topology, options: Options) -> None:
    if options.vni == docker_swarm_ingress.VNI:
        raise Wrong(f"is {options.vni}, which is the ingress network's with endpoint_mode vip", "cni", "options", "vni")
    others = {each.bridge: each.range for each in (DOCKER0, GATEWAY)}
    others |= {f"ranges.nodes[{index}]": IPv4Network(text) for index, text in enumerate(topology.ranges.nodes)}
    own = docker_swarm_ingress.range_of(options.ingress)
    docker_swarm_ingress.check(own, network_of(topology), others)


def options_of(given: Mapping[str, object]) -> Options:
    known = {"endpoint_mode": ("dnsrr", VIP), "vni": range(4096, 1 << 24), "mtu": range(68 + OVERHEAD, 65536)}
    said = {"endpoint_mode": "dnsrr or vip", "vni": "4096-16777215", "mtu": f"{68 + OVERHEAD}-65535"}
    for key, value in given.items():
        if key == "ingress":
            docker_swarm_ingress.range_of(value)
        elif key not in known:
            raise choices.unknown("cni", NAME, key, (*known, "ingress"))
        elif value not in known[key] or isinstance(value, bool):
            raise Wrong(f"is {shown(value)}, must be {said[key]}", "cni", "options", key)
    return Options(**given)  # type: ignore[arg-type]


def plan(cluster: Cluster) -> Iterator[Fragment]:
    options = options_of(cluster.topology.cni.options)
    overlay = Overlay(
        network_of(cluster.topology), options.vni, options.mtu - OVERHEAD, names.swarm_id(cluster.seed, "network")
    )
    found = _mesh(cluster, options, overlay)
    members = tuple(map(_member, cluster.pods))
    vteps = {node.name: node.addresses[0].ip for node in cluster.nodes}
    for node in cluster.nodes:
        own = tuple(_outside(overlay, each) for each in members if each.node == node.name)
        yield from _host((cluster.name, node.name), cluster.seed, node.name, own, found)
    joined = [node for node in cluster.nodes if any(each.node == node.name for each in members)]
    balancers = tuple(_balancer(overlay, node) for node in joined if found)
    for node in joined:
        everybody, host = (*members, *balancers), (cluster.name, node.name)
        yield docker_swarm_network.netns(host, cluster.seed, node.name, overlay, everybody, vteps)
    services = docker_swarm_balancer.services(cluster) if found else ()
    for each in balancers:
        yield docker_swarm_network.joined((cluster.name, each.netns), cluster.seed, each, overlay)
        yield from docker_swarm_balancer.plan(
            cluster, Balancer(each.netns, overlay.range, each.address, ETH0), services
        )
    for pod, member in zip(cluster.pods, members, strict=True):
        key = (cluster.name, pod.namespace, pod.name)
        yield docker_swarm_network.joined(key, cluster.seed, member, overlay)
        dev = ETH2 if found and found.ports(pod) else ETH1
        yield from _gateway(key, cluster.seed, pod, GATEWAY, dev, _outside(overlay, member))
    if found:
        yield from docker_swarm_ingress.plan(cluster, found)


def _mesh(cluster: Cluster, options: Options, overlay: Overlay) -> Mesh | None:
    if options.endpoint_mode != VIP:
        return None
    return docker_swarm_ingress.mesh(cluster, docker_swarm_ingress.range_of(options.ingress), overlay, GATEWAY)


def _member(pod: Pod) -> Member:
    address = pod.addresses[0]
    assert isinstance(address, IPv4Address)
    return Member(pod.key, names.pod_netns(pod.namespace, pod.name), pod.node, address)


def _outside(overlay: Overlay, member: Member) -> IPv4Address:
    """On docker_gwbridge: after the gateway and the ingress sandbox."""
    return GATEWAY.range[overlay.number(member.address) + 1]


def _balancer(overlay: Overlay, node: Node) -> Member:
    netns = names.balancer_netns(node.name, overlay.id)
    address = docker_swarm_balancer.address_of(overlay.range, node.index)
    return Member(netns, netns, node.name, address, kind=NetnsKind.NETWORK)


def _host(
    key: tuple[str, str], seed: int, node: str, outside: tuple[IPv4Address, ...], found: Mesh | None
) -> Iterator[Fragment]:
    for each in (DOCKER0, GATEWAY):
        yield _bridge((*key, each.bridge), seed, node, each)
    containers = tuple(Container(str(each)) for each in (*((found.sandbox,) if found else ()), *outside))
    bridges = (Bridge(DOCKER0.bridge, DOCKER0.range), Bridge(GATEWAY.bridge, GATEWAY.range, containers, icc=False))
    first = (docker_swarm_ingress.CHAIN,) if found and found.open else ()
    yield Rules(node, docker_rules.part(key, bridges, 28, True, first))


_bridge: Memo[NetnsPlan] = Memo(docker_bridge.bridge)
_gateway: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(docker_bridge.link, size=1 << 15)
