"""Docker's bridges on a host, and a container's link to one of them.

Source: moby/moby libnetwork/drivers/bridge (setup_device.go, bridge.go)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import NamedTuple

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


class Sandbox(NamedTuple):
    """A namespace, and what it has of a network."""

    netns: str
    kind: NetnsKind
    owner: str
    node: str
    dev: str
    address: IPv4Address


def link(seed: int, pod: Pod, network: Network, dev: str, address: IPv4Address) -> tuple[NetnsPlan, NetnsPlan]:
    """The Pod's netns with its end, and the default route by it; and the Node's with the other."""
    netns = names.pod_netns(pod.namespace, pod.name)
    far, far_mac = names.docker_veth(seed, pod.namespace, pod.name), names.mac("host", seed, pod.namespace, pod.name)
    return _linked(seed, network, Sandbox(netns, NetnsKind.POD, pod.key, pod.node, dev, address), far, far_mac)


def sandbox_link(seed: int, network: Network, sandbox: Sandbox) -> tuple[NetnsPlan, NetnsPlan]:
    """The same for a namespace of dockerd's own."""
    netns = sandbox.netns
    return _linked(seed, network, sandbox, names.docker_veth(seed, "", netns), names.mac("host", seed, netns))


def _linked(
    seed: int, network: Network, sandbox: Sandbox, far: str, far_mac: str
) -> tuple[NetnsPlan, NetnsPlan]:  # fmt: skip
    netns, kind, owner, node, dev, address = sandbox
    drawn = names.mac("container", seed, node, address)
    inside, outside = veth.pair(
        veth.End(netns, dev, Role.POD_ETH, owner, names.docker_mac(address) if network.mac_of_address else drawn),
        veth.End(node, far, Role.HOST_VETH, owner, far_mac, network.bridge, network.hairpin),
        network.mtu,
    )
    return (
        NetnsPlan(
            name=netns,
            kind=kind,
            owner=owner,
            links=(inside,),
            addresses=(Address(dev=dev, address=ip_interface(f"{address}/{network.range.prefixlen}")),),
            routes=(Route(dst=EVERYTHING[4], dev=dev, via=network.gateway),),
        ),
        NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, links=(outside,)),
    )
