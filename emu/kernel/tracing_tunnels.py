"""Tunnels as `ip tunnel show` prints them, and programs as `tc filter show` does. Source: linux/if_tunnel.h."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

from emu.kernel import netlink_links, netlink_tc
from emu.kernel.handle import read_indexes
from emu.kernel.netlink import Connection, attributes

_LOCAL, _REMOTE, _TTL, _PROTO, _PMTUDISC = 2, 3, 4, 9, 10  # IFLA_IPTUN_*
_WHERE = {"ingress": netlink_tc.INGRESS, "egress": netlink_tc.EGRESS}


def tunnel(connection: Connection, dev: str) -> str:
    for body in connection.dump(netlink_links.RTM_GETLINK, netlink_links.info(0)):
        found = attributes(body[16:])
        kind, data, _ = netlink_links.kind(found)
        if found[netlink_links.IFLA_IFNAME].rstrip(b"\0").decode() == dev and kind == "ipip":
            return _text(dev, data)
    return ""


def program(connection: Connection, dev: str, where: str) -> str:
    index = dict(read_indexes(connection)).get(dev, 0)
    with suppress(OSError):  # no clsact hook
        return next(map(str, netlink_tc.filters(connection, index, _WHERE[where])), "") if index else ""
    return ""


def _text(dev: str, data: dict[int, bytes]) -> str:
    inner = "ip" if data.get(_PROTO, b"\0")[0] == 4 else "any"
    ttl = data.get(_TTL, b"\0")[0] or "inherit"
    discovery = "pmtudisc" if data.get(_PMTUDISC, b"\0")[0] else "nopmtudisc"
    return f"{dev}: {inner}/ip remote {_end(data, _REMOTE)} local {_end(data, _LOCAL)} ttl {ttl} {discovery}"


def _end(data: dict[int, bytes], kind: int) -> str:
    raw = data.get(kind, bytes(4))
    return str(IPv4Address(raw)) if any(raw) else "any"
