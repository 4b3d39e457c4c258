"""What all Calico modes and Canal have in common: how a Pod is joined. No bridge: each Pod has a link of its own to the
Node, an address without a network, and a default route to an address that nobody has.

    Pod  10.244.1.1/32                                            Node
    eth0 ── default via 169.254.1.1 ── ARP: who has 169.254.1.1? ── cali… (no address, proxy_arp)
            answer: ee:ee:ee:ee:ee:ee, from the Node, which has a route to it: its default route
                                                                    10.244.1.1 dev cali… scope link

So every packet of a Pod is routed, to a Pod of the same Node too. In IPv6 nobody is answered for: the default route is
to the link-local address of cali…, which is made of its MAC and so is the same everywhere.

Source: projectcalico/calico cni-plugin/internal/pkg/utils, cni-plugin/pkg/dataplane/linux/dataplane_linux.go (what the
plugin makes), felix/dataplane/linux/endpoint_mgr.go (routes and sysctls)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

from emu import names
from emu.addressing import EVERYTHING
from emu.cluster.model import Cluster, IPAddress, Pod
from emu.memo import Memo
from emu.plan.merge import Fragment
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Route, Sysctl
from emu.planners import veth

MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY: dict[int, IPAddress] = {4: ip_address("169.254.1.1"), 6: ip_address("fe80::ecee:eeff:feee:eeee")}


def plan(cluster: Cluster, mtu: int) -> Iterator[Fragment]:
    for pod in cluster.pods:
        yield from _pod_link((cluster.name, pod.namespace, pod.name), cluster.seed, pod, mtu)


def _make_pod_link(seed: int, pod: Pod, mtu: int) -> tuple[NetnsPlan, NetnsPlan]:
    """The Pod's netns with its end, and the Node's with the other."""
    inside, outside = veth.pair(
        veth.in_pod(pod, names.mac("pod", seed, pod.namespace, pod.name)),
        veth.on_node(pod, names.calico_veth(pod.namespace, pod.name), MAC),
        mtu,
    )
    return _inside(pod, inside), _outside(pod, outside)


_pod_link: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(_make_pod_link, size=1 << 15)


def _inside(pod: Pod, link: Link) -> NetnsPlan:
    # The plugin switches duplicate address detection off with the address itself, for its own one.
    no_probe = Sysctl(key=f"net.ipv6.conf.{names.POD_ETH}.accept_dad", value="0")
    return NetnsPlan(
        name=names.pod_netns(pod.namespace, pod.name),
        kind=NetnsKind.POD,
        owner=pod.key,
        links=(link,),
        addresses=tuple(Address(dev=names.POD_ETH, address=ip_interface(address)) for address in pod.addresses),
        routes=tuple(route for address in pod.addresses for route in _pod_routes(address.version)),
        sysctls=(no_probe,) if any(address.version == 6 for address in pod.addresses) else (),
    )


def _pod_routes(family: int) -> Iterator[Route]:
    gateway = GATEWAY[family]
    if family == 4:
        yield Route(dst=ip_network(gateway), dev=names.POD_ETH, scope="link")
    yield Route(dst=EVERYTHING[family], dev=names.POD_ETH, via=gateway)


def _outside(pod: Pod, link: Link) -> NetnsPlan:
    return NetnsPlan(
        name=pod.node,
        kind=NetnsKind.NODE,
        owner=pod.node,
        links=(link,),
        routes=tuple(Route(dst=ip_network(address), dev=link.name, scope="link") for address in pod.addresses),
        sysctls=tuple(_sysctls(link.name, tuple(address.version for address in pod.addresses))),
    )


def _sysctls(name: str, families: tuple[int, ...]) -> Iterator[Sysctl]:
    """In Felix's order. proxy_delay would make a Pod wait up to 0.8 s for its answer."""
    if 4 in families:
        yield Sysctl(key=f"net.ipv4.conf.{name}.rp_filter", value="1")
        yield Sysctl(key=f"net.ipv4.conf.{name}.route_localnet", value="1")
        yield Sysctl(key=f"net.ipv4.neigh.{name}.proxy_delay", value="0")
        yield Sysctl(key=f"net.ipv4.conf.{name}.proxy_arp", value="1")
        yield Sysctl(key=f"net.ipv4.conf.{name}.forwarding", value="1")
    if 6 in families:
        for setting, value in (
            ("disable_ipv6", "0"),
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("proxy_ndp", "1"),
            ("forwarding", "1"),
        ):
            yield Sysctl(key=f"net.ipv6.conf.{name}.{setting}", value=value)
