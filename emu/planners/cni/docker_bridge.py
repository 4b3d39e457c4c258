"""Docker's bridges on a host, and a container's link to one of them.

Source: moby/moby libnetwork/drivers/bridge (setup_device.go, bridge.go)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_interface

from emu import names
from emu.addressing import EVERYTHING
from emu.cluster.model import Pod
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Role, Route, Sysctl
from emu.planners import veth


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of the bridge driver; its first address is the bridge's."""

    bridge: str
    range: IPv4Network
    mtu: int
    hairpin: bool = False
    mac_of_address: bool = False  # a container's MAC is 02:42 and its address, as before Docker 28

    @property
    def gateway(self) -> IPv4Address:
        return self.range[1]


def bridge(seed: int, node: str, network: Network, sysctls: tuple[Sysctl, ...] = ()) -> NetnsPlan:
    """Its MAC is set: else it would be the lowest of the ports', and change with them."""
    mac = names.mac(network.bridge, seed, node)
    link = Link(name=network.bridge, kind="bridge", role=Role.BRIDGE, owner=node, mtu=network.mtu, mac=mac)
    own = Address(dev=network.bridge, address=ip_interface(f"{network.gateway}/{network.range.prefixlen}"))
    return NetnsPlan(
        name=node, kind=NetnsKind.NODE, owner=node, links=(link,), addresses=(own,), sysctls=sysctls
    )  # fmt: skip


def link(seed: int, pod: Pod, network: Network, dev: str, address: IPv4Address) -> tuple[NetnsPlan, NetnsPlan]:
    """The Pod's netns with its end, and the default route by it; and the Node's with the other."""
    far, far_mac = names.docker_veth(seed, pod.namespace, pod.name), names.mac("host", seed, pod.namespace, pod.name)
    drawn = names.mac("container", seed, pod.node, address)
    inside, outside = veth.pair(
        veth.in_pod(pod, names.docker_mac(address) if network.mac_of_address else drawn, dev),
        veth.on_node(pod, far, far_mac, network.bridge, network.hairpin),
        network.mtu,
    )
    return (
        NetnsPlan(
            name=names.pod_netns(pod.namespace, pod.name),
            kind=NetnsKind.POD,
            owner=pod.key,
            links=(inside,),
            addresses=(Address(dev=dev, address=ip_interface(f"{address}/{network.range.prefixlen}")),),
            routes=(Route(dst=EVERYTHING[4], dev=dev, via=network.gateway),),
        ),
        NetnsPlan(name=pod.node, kind=NetnsKind.NODE, owner=pod.node, links=(outside,)),
    )
