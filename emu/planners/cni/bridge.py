"""The bridge plugin: cni0 on each Node, a veth pair for each Pod. What Flannel's plugin delegates to, with isGateway,
isDefaultGateway and hairpinMode on, and host-local addresses of the Node's range.

Source: containernetworking/plugins plugins/main/bridge; flannel-io/cni-plugin (the delegate's configuration)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_interface

from emu import names
from emu.addressing import EVERYTHING
from emu.cluster.model import Cluster, IPAddress, IPNetwork, Pod
from emu.errors import PlanError
from emu.memo import Memo
from emu.plan.merge import Fragment
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Role, Route, Sysctl
from emu.planners import veth

BRIDGE = "cni0"


def plan(cluster: Cluster, mtu: int) -> Iterator[Fragment]:
    cidrs = {node.name: node.pod_cidrs for node in cluster.nodes}
    for node in cluster.nodes:
        yield _bridge((cluster.name, node.name), cluster.seed, node.name, node.pod_cidrs, mtu)
    for pod in cluster.pods:
        key = (cluster.name, pod.namespace, pod.name)
        yield from _pod_link(key, cluster.seed, pod, cidrs[pod.node], cluster.pod_ranges, mtu)


def _make_bridge(seed: int, node: str, subnets: tuple[IPNetwork, ...], mtu: int) -> NetnsPlan:
    """cni0. A bridge takes the lowest MAC of its ports, so it would change as Pods come and go; the plan must name it
    in the Pods' frames beforehand, so it is set."""
    bridge = Link(
        name=BRIDGE, kind="bridge", role=Role.BRIDGE, owner=node, mtu=mtu, mac=names.mac(BRIDGE, seed, node)
    )  # fmt: skip
    return NetnsPlan(
        name=node,
        kind=NetnsKind.NODE,
        owner=node,
        links=(bridge,),
        addresses=tuple(
            Address(dev=BRIDGE, address=ip_interface(f"{_gateway(net)}/{net.prefixlen}")) for net in subnets
        ),
    )


_bridge: Memo[NetnsPlan] = Memo(_make_bridge)


def _gateway(subnet: IPNetwork) -> IPAddress:
    return subnet.network_address + 1


def _make_pod_link(
    seed: int, pod: Pod, subnets: tuple[IPNetwork, ...], networks: tuple[IPNetwork, ...], mtu: int
) -> tuple[NetnsPlan, NetnsPlan]:
    """The Pod's netns with its end, and the Node's with the other, as the bridge plugin leaves them."""
    dev, mac = names.host_veth(seed, pod.namespace, pod.name), names.mac("host", seed, pod.namespace, pod.name)
    inside, outside = veth.pair(
        veth.in_pod(pod, names.mac("pod", seed, pod.namespace, pod.name)),
        veth.on_node(pod, dev, mac, master=BRIDGE, hairpin=True),
        mtu,
    )
    own = tuple(_own_subnet(address, subnets) for address in pod.addresses)
    return (
        NetnsPlan(
            name=names.pod_netns(pod.namespace, pod.name),
            kind=NetnsKind.POD,
            owner=pod.key,
            links=(inside,),
            addresses=tuple(
                Address(dev=names.POD_ETH, address=ip_interface(f"{address}/{subnet.prefixlen}"))
                for address, subnet in zip(pod.addresses, own, strict=True)
            ),
            routes=_pod_routes(own, networks),
            sysctls=_pod_sysctls(own),
        ),
        NetnsPlan(name=pod.node, kind=NetnsKind.NODE, owner=pod.node, links=(outside,)),
    )


@lru_cache(maxsize=1024)
def _pod_sysctls(subnets: tuple[IPNetwork, ...]) -> tuple[Sysctl, ...]:
    """A port in hairpin mode sends the duplicate address probe back, which would then find itself."""
    notify = Sysctl(key=f"net.ipv4.conf.{names.POD_ETH}.arp_notify", value="1")
    no_probe = Sysctl(key=f"net.ipv6.conf.{names.POD_ETH}.accept_dad", value="0")
    return (notify, no_probe) if any(subnet.version == 6 for subnet in subnets) else (notify,)


_pod_link: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(_make_pod_link, size=1 << 15)


def _own_subnet(address: IPAddress, subnets: tuple[IPNetwork, ...]) -> IPNetwork:
    for subnet in subnets:
        if address in subnet:
            return subnet
    raise PlanError(f"{address} lies in no Pod range of its Node ({', '.join(map(str, subnets))})")


def _make_pod_routes(subnets: tuple[IPNetwork, ...], networks: tuple[IPNetwork, ...]) -> Iterator[Route]:
    for subnet in subnets:
        via = _gateway(subnet)
        yield Route(dst=EVERYTHING[subnet.version], dev=names.POD_ETH, via=via)
        for network in networks:
            if network.version == subnet.version:
                yield Route(dst=network, dev=names.POD_ETH, via=via)


@lru_cache(maxsize=1024)
def _pod_routes(subnets: tuple[IPNetwork, ...], networks: tuple[IPNetwork, ...]) -> tuple[Route, ...]:
    """The same for all Pods of a Node."""
    return tuple(_make_pod_routes(subnets, networks))
