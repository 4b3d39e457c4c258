"""An overlay network of a Swarm on its hosts: the namespace it has on each, and the links of its members to it.

Source: moby/moby daemon/libnetwork/drivers/overlay (ov_network.go, ov_utils.go, joinleave.go, peerdb.go), osl
(neigh_linux.go)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import NamedTuple

from emu import names
from emu.memo import Memo
from emu.plan.model import Address, FdbEntry, Link, Neighbor, NetnsKind, NetnsPlan, Role, Sysctl, Vxlan
from emu.planners import veth
from emu.planners.underlay import ipv6_off

PORT = 4789
BRIDGE, TUNNEL, ETH0 = "br0", "vxlan0", "eth0"


class Overlay(NamedTuple):
    """`mtu`: of its links, without what the tunnel takes. `kind` tells its MACs from another's on the same host."""

    range: IPv4Network
    vni: int
    mtu: int
    id: str
    kind: tuple[str, ...] = ()

    def netns(self, node: str) -> str:
        return names.network_netns(node, self.id)

    def number(self, address: IPv4Address) -> int:
        return int(address) - int(self.range[0])


class Member(NamedTuple):
    """A container of the network, or the load balancer of a host, as the others know it."""

    owner: str  # a container's key
    netns: str
    node: str
    address: IPv4Address
    dev: str = ETH0
    kind: NetnsKind = NetnsKind.POD

    @property
    def mac(self) -> str:
        return names.docker_mac(self.address)


def _make_netns(
    seed: int, node: str, overlay: Overlay, members: tuple[Member, ...], vteps: Mapping[str, IPv4Address]
) -> NetnsPlan:
    """Where moby lets bridged frames pass iptables, there are no rules for them: they need not."""
    own = [each for each in members if each.node == node]
    others = [each for each in members if each.node != node]
    bridge = Link(
        name=BRIDGE,
        kind="bridge",
        role=Role.BRIDGE,
        owner=node,
        mtu=overlay.mtu,
        mac=names.mac(BRIDGE, seed, node, *overlay.kind),
    )
    tunnel = Link(
        name=TUNNEL,
        kind="vxlan",
        role=Role.TUNNEL,
        owner=node,
        mtu=overlay.mtu,
        mac=names.mac(TUNNEL, seed, node, *overlay.kind),
        master=BRIDGE,
        vxlan=Vxlan(vni=overlay.vni, port=PORT, learning=True, proxy=True, misses=True, socket=node),
    )
    not_filtered = (Sysctl(key=f"net.bridge.bridge-nf-call-{each}tables", value="0") for each in ("ip", "ip6", "arp"))
    name = overlay.netns(node)
    return NetnsPlan(
        name=name,
        kind=NetnsKind.NETWORK,
        owner=name,
        links=(bridge, tunnel, *(_link(seed, each, overlay)[1] for each in own)),
        addresses=(Address(dev=BRIDGE, address=ip_interface(f"{overlay.range[1]}/{overlay.range.prefixlen}")),),
        neighbors=tuple(Neighbor(dev=TUNNEL, address=each.address, mac=each.mac) for each in others),
        fdb=tuple(FdbEntry(dev=TUNNEL, mac=each.mac, dst=vteps[each.node]) for each in others),
        sysctls=(*ipv6_off((4,)), *not_filtered),
    )


def _link(seed: int, member: Member, overlay: Overlay) -> tuple[Link, Link]:
    """The member's end, and the one in the netns of the network."""
    far_mac = names.mac("overlay", seed, member.owner, *overlay.kind)
    return veth.pair(
        veth.End(member.netns, member.dev, Role.POD_ETH, member.owner, member.mac),
        veth.End(
            overlay.netns(member.node),
            f"veth{overlay.number(member.address)}",
            Role.HOST_VETH,
            member.owner,
            far_mac,
            BRIDGE,
        ),
        overlay.mtu,
    )


def _make_joined(seed: int, member: Member, overlay: Overlay) -> NetnsPlan:
    link, _ = _link(seed, member, overlay)
    own = Address(dev=member.dev, address=ip_interface(f"{member.address}/{overlay.range.prefixlen}"))
    return NetnsPlan(name=member.netns, kind=member.kind, owner=member.owner, links=(link,), addresses=(own,))


#: The network's namespace on a host: (key, seed, node, overlay, members, vteps)
netns: Memo[NetnsPlan] = Memo(_make_netns)
#: A member's link to it: (key, seed, member, overlay)
joined: Memo[NetnsPlan] = Memo(_make_joined, size=1 << 15)
