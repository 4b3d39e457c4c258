"""rtnetlink messages for links: veth pairs across namespaces, bridges, VXLAN, bridge ports.

A link is made complete by one message: name, index, MAC, MTU, master, up; and for a veth the other end as well (all
but up), put straight into its own namespace. The caller chooses the indexes, so nothing need be read back. Only what
belongs to a bridge port (hairpin) wants a second message, because the port exists only after the first.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import NamedTuple

from emu.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Request,
    attr,
    attr_text,
    attr_u8,
    attr_u32,
    attributes,
    nested,
)
from emu.plan.model import Link, Role, Vxlan

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
AF_UNSPEC = 0
IFF_UP, IFF_NOARP, IFF_MULTICAST = 1, 0x80, 0x1000
LOOPBACK = 1  # the index of lo, in every namespace

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_TXQLEN, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_LINK_NETNSID = 13, 18, 28, 37
DEFAULT_QLEN = 1000
_IFLA_GROUP, _DOOMED = 27, 0x656D75
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_BRPORT_MODE = 4  # hairpin
_BR_MCAST_SNOOPING = 23
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17
_VXLAN_PROXY, _VXLAN_L2MISS, _VXLAN_L3MISS = 11, 13, 14
_VXLAN_COLLECT_METADATA = 25

_IFINFO = struct.Struct("=BxHiII")  # family, device type, index, flags, mask of flags to change
_BE16 = struct.Struct("!H")
_ONE_QUEUE = attr_u32(_IFLA_NUM_TX_QUEUES, 1) + attr_u32(_IFLA_NUM_RX_QUEUES, 1)
_HAIRPIN = {
    on: nested(IFLA_LINKINFO, attr(_INFO_SLAVE_KIND, b"bridge"), nested(_INFO_SLAVE_DATA, attr_u8(_BRPORT_MODE, on)))
    for on in (False, True)
}


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a veth pair, as it is to be born in its namespace."""

    link: Link
    index: int
    netns_fd: int


def info(index: int, flags: int = 0, change: int = 0) -> bytes:
    return _IFINFO.pack(AF_UNSPEC, 0, index, flags, change)


def add(
    link: Link, index: int, *, master: int = 0, lower: int = 0, peer: Peer | None = None, netns_fd: int | None = None
) -> Request:
    """`master` is the bridge's index, `lower` that of a VXLAN's `dev`. `netns_fd`: into this namespace, from the one
    the request is sent in."""
    data = _data(link, lower, peer)
    body = _common(link, index, up=link.up) + nested(IFLA_LINKINFO, attr(_INFO_KIND, link.kind.encode()), data)
    if master:
        body += attr_u32(IFLA_MASTER, master)
    if netns_fd is not None:
        body += attr_u32(IFLA_NET_NS_FD, netns_fd)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def hairpin(index: int, on: bool) -> Request:
    """`bridge link set dev NAME hairpin on`, said as a property of a bridge's slave."""
    return Request(RTM_NEWLINK, 0, info(index) + _HAIRPIN[on])


def modify(link: Link, index: int, master: int = 0) -> Request:
    """Bring an existing link's MAC, MTU, master and state to what the plan says. The index alone says which: a name,
    though it be the same, is a renaming, which kernels before 6.2 refuse for a link that is up (dev_change_name)."""
    return Request(RTM_NEWLINK, 0, _settings(link, index, up=link.up) + attr_u32(IFLA_MASTER, master))


def tun(link: Link, index: int) -> Request:
    """Of a TUN device what `modify` does not say: that it sends to no group, and the length of its queue, which is not
    the kernel's default for other links."""
    head = info(index, IFF_UP if link.up else 0, IFF_UP | IFF_MULTICAST)
    return Request(RTM_NEWLINK, 0, head + attr_u32(IFLA_MTU, link.mtu) + attr_u32(IFLA_TXQLEN, link.qlen))


def delete(index: int) -> Request:
    """Deleting one end of a veth pair deletes the other."""
    return Request(RTM_DELLINK, 0, info(index))


def mark(index: int) -> Request:
    """Put a link into the group that `delete_marked` deletes."""
    return Request(RTM_NEWLINK, 0, info(index) + attr_u32(_IFLA_GROUP, _DOOMED))


def delete_marked() -> Request:
    """All at once: the kernel waits 20 ms for the last users of what it deletes, once for each request."""
    return Request(RTM_DELLINK, 0, info(0) + attr_u32(_IFLA_GROUP, _DOOMED))


def _data(link: Link, lower: int, peer: Peer | None) -> bytes:
    """A switch of the fabric does not snoop: a bridge that does is itself a member of 224.0.0.106 and says so by IGMP
    to all its ports, which a switch on the wire would not. A Node's bridge is left as the CNI plugin makes it."""
    if peer is not None:
        return nested(_INFO_DATA, attr(_VETH_INFO_PEER, _born(peer)))
    if link.vxlan is not None:
        return nested(_INFO_DATA, _vxlan(link.vxlan, lower))
    if link.kind == "bridge" and link.role is Role.FABRIC:
        return nested(_INFO_DATA, attr_u8(_BR_MCAST_SNOOPING, 0))
    return b""


def up(index: int) -> Request:
    return Request(RTM_NEWLINK, 0, info(index, IFF_UP, IFF_UP))


def _common(link: Link, index: int, *, up: bool) -> bytes:
    """Of a link to be made. A veth asked for by nobody's number has a queue for each CPU there may ever be, of which it
    uses one: to say so the kernel twice waits, with the lock of all links held, until no CPU reads the old number
    (veth_init_queues, netif_set_real_num_tx_queues). One that is born with the one it uses does not wait."""
    queues = _ONE_QUEUE if link.kind == "veth" else b""
    return _settings(link, index, up=up) + attr_text(IFLA_IFNAME, link.name) + queues


def _settings(link: Link, index: int, *, up: bool) -> bytes:
    noarp = IFF_NOARP if link.noarp else 0
    body = info(index, noarp | (IFF_UP if up else 0), IFF_UP | noarp)
    if link.mtu:
        body += attr_u32(IFLA_MTU, link.mtu)
    if link.qlen != DEFAULT_QLEN:
        body += attr_u32(IFLA_TXQLEN, link.qlen)
    if link.mac:
        body += attr(IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
    return body


def _born(peer: Peer) -> bytes:
    """Down: it is made before this end, and a veth cannot be up without its other end (ENOTCONN)."""
    return _common(peer.link, peer.index, up=False) + attr_u32(IFLA_NET_NS_FD, peer.netns_fd)


def _vxlan(vxlan: Vxlan, lower: int) -> bytes:
    """Everything else is left to the kernel, as flanneld, Docker and Cilium leave it."""
    if vxlan.external:
        return attr_u8(_VXLAN_COLLECT_METADATA, 1) + attr(_VXLAN_PORT, _BE16.pack(vxlan.port))
    on = ((_VXLAN_PROXY, vxlan.proxy), (_VXLAN_L2MISS, vxlan.misses), (_VXLAN_L3MISS, vxlan.misses))
    parts = [attr_u32(_VXLAN_ID, vxlan.vni), attr_u32(_VXLAN_LINK, lower) if lower else b""]
    if vxlan.local:
        parts.append(attr(_VXLAN_LOCAL if vxlan.local.version == 4 else _VXLAN_LOCAL6, vxlan.local.packed))
    parts += [attr_u8(_VXLAN_LEARNING, vxlan.learning), *(attr_u8(flag, True) for flag, wanted in on if wanted)]
    return b"".join((*parts, attr(_VXLAN_PORT, _BE16.pack(vxlan.port))))


class VxlanValues(NamedTuple):
    """What the kernel tells of a VXLAN link: `local` packed, `lower` an index."""

    vni: int
    lower: int
    local: bytes
    port: int
    learning: bool
    proxy: bool
    misses: bool


def kind(found: dict[int, bytes]) -> tuple[str, dict[int, bytes], bool]:
    """(kind, its own attributes, hairpin as a bridge port) of a link read from the kernel."""
    linkinfo = attributes(found.get(IFLA_LINKINFO, b""))
    name = linkinfo.get(_INFO_KIND, b"").rstrip(b"\0").decode()
    port = attributes(linkinfo.get(_INFO_SLAVE_DATA, b""))
    return name, attributes(linkinfo.get(_INFO_DATA, b"")), port.get(_BRPORT_MODE, b"\0") != b"\0"


def is_external(data: dict[int, bytes]) -> bool:
    """A VXLAN link that is told VNI and ends packet by packet."""
    return data.get(_VXLAN_COLLECT_METADATA, b"\0") != b"\0"


def vxlan_values(data: dict[int, bytes]) -> VxlanValues:
    return VxlanValues(
        vni=int.from_bytes(data.get(_VXLAN_ID, b""), sys.byteorder),
        lower=int.from_bytes(data.get(_VXLAN_LINK, b""), sys.byteorder),
        local=data.get(_VXLAN_LOCAL) or data.get(_VXLAN_LOCAL6, b""),
        port=int.from_bytes(data.get(_VXLAN_PORT, b""), "big"),
        learning=_is_on(data, _VXLAN_LEARNING),
        proxy=_is_on(data, _VXLAN_PROXY),
        misses=_is_on(data, _VXLAN_L2MISS) and _is_on(data, _VXLAN_L3MISS),
    )


def _is_on(data: dict[int, bytes], flag: int) -> bool:
    return data.get(flag, b"\0") != b"\0"
