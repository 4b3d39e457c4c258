"""rtnetlink messages for addresses, routes, policy rules, neighbors and forwarding entries.

`add` states what shall be (`ip … replace`), so that saying it twice is no error; `delete` names it by its key.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from socket import AF_INET, AF_INET6

from emu.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    attr,
    attr_text,
    attr_u32,
    attributes,
    nested,
)
from emu.plan.model import Address, FdbEntry, IPNetwork, Neighbor, PolicyRule, Route

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
AF_BRIDGE = 7

_NLM_F_APPEND = 0x800
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02
IFA_F_NOPREFIXROUTE = 0x200
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS = 1, 4, 5, 6, 7, 8
_RTA_TABLE, _RTA_VIA, _RTAX_MTU = 15, 18, 2
_RTNH_F_ONLINK = 4
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 1, 2, 3, 6, 10, 15, 16
_FR_ACT_TO_TBL = 1
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80
_NTF_SELF = 0x02

SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
TYPES = {"unicast": 1, "local": 2, "broadcast": 3, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8}
# /etc/iproute2/rt_protos
PROTOCOLS = {"unspec": 0, "redirect": 1, "kernel": 2, "boot": 3, "static": 4, "ra": 9, "bird": 12, "dhcp": 16}

_IFADDR = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index
_RT = struct.Struct("=BBBBBBBBI")  # family, dst prefix, src prefix, tos, table, protocol, scope, type, flags
_ND = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NO_MAC = "00:00:00:00:00:00"

Indexes = Mapping[str, int]


def _family(version: int) -> int:
    return AF_INET if version == 4 else AF_INET6


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _address(value: Address, indexes: Indexes) -> bytes:
    """IPv4 gets its broadcast address from /30 up, as the CNI plugins' and flanneld's netlink library sets it.
    IPv6 is used at once: duplicate address detection would send packets and make the address wait a second."""
    interface = value.address
    packed, prefix = interface.packed, interface.network.prefixlen
    head = _IFADDR.pack(_family(interface.version), prefix, 0, 0, indexes[value.dev])
    body = head + attr(_IFA_LOCAL, packed) + attr(_IFA_ADDRESS, packed)
    flags = 0 if value.prefix_route else IFA_F_NOPREFIXROUTE
    if interface.version == 6:
        return body + attr_u32(_IFA_FLAGS, flags | _IFA_F_NODAD)
    body += attr_u32(_IFA_FLAGS, flags) if flags else b""
    return body + attr(_IFA_BROADCAST, interface.network.broadcast_address.packed) if prefix < 31 else body


def _route(value: Route, indexes: Indexes, *, deleting: bool = False) -> bytes:
    dst, via = value.dst, value.via
    how = (0, SCOPES["nowhere"], 0) if deleting else _how(value)
    flags = _RTNH_F_ONLINK if value.onlink else 0
    # A table above 255 is told by the attribute alone.
    table = value.table if value.table < 256 else 0
    parts = [_RT.pack(_family(dst.version), dst.prefixlen, 0, 0, table, *how, flags)]
    if dst.prefixlen:
        parts.append(attr(_RTA_DST, dst.network_address.packed))
    if value.table > 255:
        parts.append(attr_u32(_RTA_TABLE, value.table))
    if via is not None and via.version == dst.version:
        parts.append(attr(_RTA_GATEWAY, via.packed))
    elif via is not None:
        parts.append(attr(_RTA_VIA, struct.pack("=H", _family(via.version)) + via.packed))
    if value.dev:
        parts.append(attr_u32(_RTA_OIF, indexes[value.dev]))
    if value.src is not None:
        parts.append(attr(_RTA_PREFSRC, value.src.packed))
    if value.metric:
        parts.append(attr_u32(_RTA_PRIORITY, value.metric))
    if value.mtu:
        parts.append(nested(_RTA_METRICS, attr_u32(_RTAX_MTU, value.mtu)))
    return b"".join(parts)


def mtu(found: Mapping[int, bytes]) -> int:
    """Of a route read from the kernel; 0 if it has none of its own."""
    raw = attributes(found.get(_RTA_METRICS, b"")).get(_RTAX_MTU)
    return int(struct.unpack("=I", raw)[0]) if raw else 0


def _how(value: Route) -> tuple[int, int, int]:
    """Protocol, scope and type. IPv6 knows no scopes of routes."""
    protocol = PROTOCOLS.get(value.protocol)
    scope = SCOPES[value.scope] if value.dst.version == 4 else 0
    return int(value.protocol) if protocol is None else protocol, scope, TYPES[value.type]


def _rule(value: PolicyRule, _indexes: Indexes, *, deleting: bool = False) -> bytes:
    """A rule without addresses is of IPv4. Any action is deleted: somebody's may be `blackhole`."""
    given = value.src or value.dst
    table = value.table if value.table < 256 else 0
    sizes = (_prefix(value.dst), _prefix(value.src))
    action = 0 if deleting else _FR_ACT_TO_TBL
    head = _RT.pack(_family(given.version if given else 4), *sizes, 0, table, 0, 0, action, 0)
    parts = [head, attr_u32(_FRA_PRIORITY, value.priority), attr_u32(_FRA_TABLE, value.table)]
    for kind, network in ((_FRA_DST, value.dst), (_FRA_SRC, value.src)):
        if network is not None:
            parts.append(attr(kind, network.network_address.packed))
    if value.iif:
        parts.append(attr_text(_FRA_IIFNAME, value.iif))
    if value.fwmark or value.fwmask:
        parts += (attr_u32(_FRA_FWMARK, value.fwmark), attr_u32(_FRA_FWMASK, value.fwmask or 0xFFFFFFFF))
    return b"".join(parts)


def _prefix(network: IPNetwork | None) -> int:
    return network.prefixlen if network else 0


def _neighbor(value: Neighbor, indexes: Indexes) -> bytes:
    head = _ND.pack(_family(value.address.version), indexes[value.dev], _NUD_PERMANENT, 0, 0)
    return head + attr(_NDA_DST, value.address.packed) + attr(_NDA_LLADDR, _mac(value.mac))


def _fdb(value: FdbEntry, indexes: Indexes) -> bytes:
    head = _ND.pack(AF_BRIDGE, indexes[value.dev], _NUD_PERMANENT, _NTF_SELF, 0)
    return head + attr(_NDA_LLADDR, _mac(value.mac)) + attr(_NDA_DST, value.dst.packed)


_State = Address | Route | PolicyRule | Neighbor | FdbEntry
_REPLACE = NLM_F_CREATE | NLM_F_REPLACE
_BUILDERS: dict[type, tuple[int, int, int, Callable[..., bytes]]] = {
    Address: (RTM_NEWADDR, RTM_DELADDR, _REPLACE, _address),
    Route: (RTM_NEWROUTE, RTM_DELROUTE, _REPLACE, _route),
    PolicyRule: (RTM_NEWRULE, RTM_DELRULE, NLM_F_CREATE | NLM_F_EXCL, _rule),
    Neighbor: (RTM_NEWNEIGH, RTM_DELNEIGH, _REPLACE, _neighbor),
    FdbEntry: (RTM_NEWNEIGH, RTM_DELNEIGH, _REPLACE, _fdb),
}


def add(value: _State, indexes: Indexes) -> Request:
    """KeyError when the value names a link that is not in `indexes`."""
    kind, _, flags, build = _BUILDERS[type(value)]
    if isinstance(value, FdbEntry) and value.mac == _NO_MAC:
        flags = NLM_F_CREATE | _NLM_F_APPEND  # where frames for unknown MACs are flooded to: a list
    return Request(kind, flags, build(value, indexes))


def delete(value: _State, indexes: Indexes) -> Request:
    _, kind, _, build = _BUILDERS[type(value)]
    if isinstance(value, Route):
        return Request(kind, 0, _route(value, indexes, deleting=True))
    return Request(
        kind, 0, _rule(value, indexes, deleting=True) if isinstance(value, PolicyRule) else build(value, indexes)
    )
