"""NAME
    cilium: Cilium with its own kube-proxy, BPF host routing and BPF masquerading; VXLAN, or native routing

PACKET PATH
    Pod               Node 1                                               Node 2               Pod
    eth0 ── lxc… ─ cil_from_container ── cilium_vxlan ── eth0 ═══ eth0 ── cilium_vxlan ─ cil_from_overlay ── eth0
                   cilium_ipcache: Node and                               cilium_lxc: the Pod's link
                   identity                     outer: Node → Node,       bpf_redirect_peer: straight into the Pod,
                                                UDP 8472, VNI = the       past lxc…, which does not show the packet
                                                sender's identity
    On one Node: cil_from_container finds the other Pod in cilium_lxc; bpf_redirect_peer again. No packet of a Pod meets
    the Node's routing, netfilter or connection tracking, but one that is for the Node itself.
    A Service's address is a backend's before there is a packet (see proxy cilium).
    A Pod's packet to other Nodes or to the outside: bpf_fib_lookup, bpf_redirect_neigh to eth0, and there cil_to_netdev
    masquerades it; the answer is translated back by cil_from_netdev and goes straight into the Pod, and so is an ICMP
    error (unreachable, time exceeded), whoever sends it, with the packet it tells of.
    A Node's own packet to a Pod has cilium_host's address and leaves by cilium_host, where cil_from_host sends it on:
    through lxc… to its own Pod, with identity 6 (remote-node) into the tunnel to another's. cilium_host does not show
    it.
    TTL: one less at delivery and at routing, none for the tunnel: a Pod gets 63 from any other Pod.

KERNEL OBJECTS, on each Node
    cilium_host ── cilium_net    veth pair, no ARP; cilium_host has the router's address, the first of the Node's range
    cilium_vxlan                 external: the programs say VNI and Node packet by packet; no address
    lxc…                         one for each Pod, no address. The Pod's ARP is answered by cil_from_container
    routes    ROUTER dev cilium_host scope link; the Node's range and, with mtu 1450, those of other Nodes via ROUTER
    programs  cil_from_container (lxc… ingress), cil_from_host (cilium_host egress), cil_from_overlay and cil_to_overlay
              (cilium_vxlan), cil_from_netdev and cil_to_netdev (eth0)
    chains    CILIUM_…, for the Node's own traffic (cilium_rules)
    maps      cilium_lxc, cilium_ipcache; written by the programs: cilium_ct4_global, cilium_snat_v4 (`emu bpf`)
    files     /etc/cni/net.d/05-cilium.conflist
    in a Pod  eth0 with a /32; ROUTER dev eth0 scope link, default via ROUTER mtu 1450

MTU
    the links' is the uplink's; the routes' 50 less. Native routing: the uplink's.

OPTIONS
    routing: tunnel | native    native: no cilium_vxlan; a route to each Node's range by its address, packets as they
                                are, cil_from_netdev delivers them (routingMode native, autoDirectNodeRoutes)

LIMITS
    The programs are this project's own, in C, of the same names at the same places. They decide about IPv4 alone, know
    no policies, and tell what they decide in a ring buffer; what Cilium writes into the text of its programs is here in
    the map cilium_config. One set of programs is attached at all lxc…, so the sender is found by its address.
    One map of connections where Cilium has two, of TCP and of the rest; they are counted, as with bpf.ctAccounting.
    Not there: the health endpoint, the DNS proxy and its TPROXY rules, IPv6, encryption, Hubble, NodePort at tc.
    A packet in pieces is not masqueraded.
    Identities, endpoint ids and the router's address are drawn by Cilium and derived here.
    eBPF needs root.

SOURCES
    cilium/cilium v1.17 bpf/bpf_lxc.c, bpf_host.c, bpf_overlay.c, bpf/lib (local_delivery.h, encap.h, fib.h, nat.h,
    eps.h, conntrack.h); daemon/cmd/cni (cniConfigs); pkg/datapath/linux (node.go: routes), pkg/maps, plugins/cilium-cni
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_interface, ip_network

from emu import names
from emu.addressing import EVERYTHING
from emu.api.topology import Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.model import Cluster, Node, Pod
from emu.memo import Memo
from emu.plan.ebpf import MapEntry
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Role, Route, Sysctl, TcProgram, Vxlan
from emu.planners import choices, veth
from emu.planners.cni import cilium_identity, cilium_maps, cilium_rules, node_files
from emu.planners.cni.cilium_maps import Home

NAME = "cilium"
ROUTING = "routing"
TUNNEL, NATIVE = "tunnel", "native"
HOST, NET, OVERLAY = "cilium_host", "cilium_net", "cilium_vxlan"
PORT = 8472
OVERHEAD = 50
PROXIES = ("cilium", "none")
CONFLIST = """
{
  "cniVersion": "0.3.1",
  "name": "cilium",
  "plugins": [
    {
       "type": "cilium-cni",
       "enable-debug": false,
       "log-file": "/var/run/cilium/cilium-cni.log"
    }
  ]
}"""


def check(topology: Topology) -> None:
    if topology.family != "ipv4":
        raise Wrong(f"is {topology.family}, but the eBPF datapath carries IPv4 alone", "family", hint="family: ipv4")
    for option, value in topology.cni.options.items():
        if option != ROUTING:
            raise choices.unknown("cni", NAME, option, (ROUTING,))
        if value not in (TUNNEL, NATIVE):
            raise Wrong(f"is {shown(value)}, must be tunnel or native", "cni", "options", ROUTING)
    if topology.proxy.mode not in PROXIES:
        what = f"is {topology.proxy.mode}, but past the Nodes' stack no rule sees a Pod's packet"
        raise Wrong(what, "proxy", "mode", hint="proxy: cilium")


def tunnelled(cluster: Cluster) -> bool:
    return cluster.topology.cni.options.get(ROUTING, TUNNEL) == TUNNEL


def plan(cluster: Cluster) -> Iterator[Fragment]:
    mtu, tunnel = cluster.topology.fabric.mtu, tunnelled(cluster)
    homes = tuple(_home(node, cluster) for node in cluster.nodes)
    native = next(network for network in cluster.pod_ranges if isinstance(network, IPv4Network))
    for home in homes:
        yield Rules(home.node, cilium_rules.PART)
        conflist = (f"{node_files.CNI}/05-cilium.conflist", CONFLIST)
        yield node_files.fragment((cluster.name, home.node, "cilium"), home.node, (conflist,))
        yield _node((cluster.name, home.node), home, homes, cluster.seed, mtu, tunnel, native)
    yield from cilium_maps.plan(cluster, homes, tunnel)
    routers = {home.node: home.router for home in homes}
    for pod in cluster.pods:
        yield from _pod_link((cluster.name, pod.key), cluster.seed, pod, routers[pod.node], mtu, tunnel)


def _home(node: Node, cluster: Cluster) -> Home:
    cidr = next(each for each in node.pod_cidrs if isinstance(each, IPv4Network))
    public = next(each for each in node.addresses if each.version == 4)
    return Home(node=node.name, public=public, cidr=cidr, router=cidr[1])


@dataclass(frozen=True, slots=True)
class _Macs:
    host: str
    net: str
    overlay: str


def _macs(seed: int, node: str) -> _Macs:
    return _Macs(*(names.mac(dev, seed, node) for dev in (HOST, NET, OVERLAY)))


def _make_node(  # noqa: PLR0917 -- what it depends on
    home: Home, homes: tuple[Home, ...], seed: int, mtu: int, tunnel: bool, native: IPv4Network
) -> NetnsPlan:
    macs = _macs(seed, home.node)
    overlay = OVERLAY if tunnel else ""
    config = (overlay, HOST, home.ends, native, macs.host, macs.overlay)
    return NetnsPlan(
        name=home.node,
        kind=NetnsKind.NODE,
        owner=home.node,
        links=tuple(_links(home.node, macs, mtu, tunnel)),
        addresses=(Address(dev=HOST, address=ip_interface(home.router)),),
        routes=tuple(_routes(home, homes, mtu, tunnel)),
        sysctls=tuple(_sysctls()),
        programs=tuple(_programs(tunnel)),
        maps=(MapEntry(map="cilium_config", key=(0,), value=config),),
    )


_node: Memo[NetnsPlan] = Memo(_make_node)


def _links(node: str, macs: _Macs, mtu: int, tunnel: bool) -> Iterator[Link]:
    for name, mac, other in ((HOST, macs.host, NET), (NET, macs.net, HOST)):
        yield Link(
            name=name, kind="veth", role=Role.HOST, owner=node, mtu=mtu, mac=mac, peer=(node, other), noarp=True
        )  # fmt: skip
    if tunnel:
        vxlan = Vxlan(vni=0, port=PORT, external=True)
        yield Link(
            name=OVERLAY, kind="vxlan", role=Role.TUNNEL, owner=node, mtu=mtu, mac=macs.overlay, vxlan=vxlan
        )  # fmt: skip


def _routes(home: Home, homes: tuple[Home, ...], mtu: int, tunnel: bool) -> Iterator[Route]:
    """proto kernel, as Cilium writes them."""
    yield Route(dst=ip_network(home.router), dev=HOST, scope="link", protocol="kernel")
    for each in homes:
        near = each.node != home.node and each.public.ip in home.public.network
        if tunnel or each.node == home.node:
            less = mtu - OVERHEAD if each.node != home.node else 0
            yield Route(dst=each.cidr, dev=HOST, via=home.router, src=home.router, mtu=less, protocol="kernel")
        elif near:
            yield Route(dst=each.cidr, dev=names.UPLINK, via=each.public.ip, protocol="kernel")


def _sysctls() -> Iterator[Sysctl]:
    """Source: cilium/cilium pkg/datapath/loader, setupBaseDevice."""
    for dev in (HOST, NET):
        for key, value in (("forwarding", "1"), ("rp_filter", "0"), ("accept_local", "1"), ("send_redirects", "0")):
            yield Sysctl(key=f"net.ipv4.conf.{dev}.{key}", value=value)


def _programs(tunnel: bool) -> Iterator[TcProgram]:
    places = [(HOST, "egress", "cil_from_host"), (names.UPLINK, "ingress", "cil_from_netdev")]
    places += [(names.UPLINK, "egress", "cil_to_netdev")]
    if tunnel:
        places += [(OVERLAY, "ingress", "cil_from_overlay"), (OVERLAY, "egress", "cil_to_overlay")]
    for dev, where, name in places:
        yield TcProgram(dev=dev, where=where, file="cilium", name=name)


def _make_pod_link(seed: int, pod: Pod, router: IPv4Address, mtu: int, tunnel: bool) -> tuple[NetnsPlan, NetnsPlan]:
    """The Pod's netns with its end, and the Node's with the other."""
    lxc = names.cilium_veth(seed, pod.namespace, pod.name)
    inside, outside = veth.pair(
        veth.in_pod(pod, names.mac("pod", seed, pod.namespace, pod.name)),
        veth.on_node(pod, lxc, names.mac("lxc", seed, pod.namespace, pod.name)),
        mtu,
    )
    routes = (
        Route(dst=ip_network(router), dev=names.POD_ETH, scope="link"),
        Route(dst=EVERYTHING[4], dev=names.POD_ETH, via=router, mtu=mtu - OVERHEAD if tunnel else 0),
    )
    addresses = tuple(Address(dev=names.POD_ETH, address=ip_interface(address)) for address in pod.addresses)
    return (
        NetnsPlan(
            name=names.pod_netns(pod.namespace, pod.name),
            kind=NetnsKind.POD,
            owner=pod.key,
            links=(inside,),
            addresses=addresses,
            routes=routes,
        ),
        NetnsPlan(
            name=pod.node,
            kind=NetnsKind.NODE,
            owner=pod.node,
            links=(outside,),
            programs=(TcProgram(dev=lxc, where="ingress", file="cilium", name="cil_from_container"),),
        ),
    )


_pod_link: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(_make_pod_link, size=1 << 15)


def notes(cluster: Cluster) -> Iterator[str]:
    known = cilium_identity.identities(cluster.pods)
    for labels, number in sorted(known.items(), key=lambda item: item[1])[:20]:
        own = [label.removeprefix("k8s:") for label in labels if not label.startswith("k8s:io.")]
        namespace = next(each.partition("=")[2] for each in labels if each.startswith("k8s:io.kubernetes.pod"))
        yield f"identity {number}: Pods of {namespace} with {', '.join(own) or 'no labels'}"
    if not tunnelled(cluster) and len({node.addresses[0].network for node in cluster.nodes}) > 1:
        yield "native routing: no Node has a route to Pods of Nodes that are across a router"
