"""What the kernel would do with a packet: its routes, neighbors and forwarding entries, asked for one by one and
written as `ip route`, `ip neigh` and `bridge fdb` print them. Source: linux/rtnetlink.h, neighbour.h."""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import ip_address

from emu.kernel.netlink import Connection, attr, attr_u8, attr_u32, attributes, messages
from emu.kernel.netns import Netns, socket_in
from emu.plan.model import IPAddress

_RTM_GETNEIGH, _RTM_GETROUTE = 30, 26
_NLMSG_ERROR, _NLM_F_REQUEST = 2, 1
_SIOCGIFNAME, _SIOCGIFINDEX = 0x8910, 0x8933
_AF_BRIDGE = 7
_FIB_MATCH = 0x2000 | 0x1000  # RTM_F_FIB_MATCH: the entry matched; RTM_F_LOOKUP_TABLE: and its own table
_PROTOCOL_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "sctp": 132}

_DST, _SRC, _IIF, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _TABLE, _MARK = 1, 2, 3, 4, 5, 6, 7, 15, 16
_PREF, _IP_PROTO, _SPORT, _DPORT = 20, 27, 28, 29
_TYPES = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_PROTOCOLS = {1: "redirect", 2: "kernel", 4: "static", 9: "ra", 12: "bird", 16: "dhcp", 186: "bgp"}
_SCOPES = {200: "site", 253: "link", 254: "host", 255: "nowhere"}
_TABLES = {253: "default", 255: "local"}
_FLAGS = ((1, "dead"), (4, "onlink"), (16, "linkdown"))  # RTNH_F_*
_PREFERENCES = {0: "medium", 1: "high", 3: "low"}

_NDA_DST, _NDA_LLADDR, _NDA_MASTER = 1, 2, 9
_SELF, _MASTER, _EXTERN, _STICKY, _OFFLOADED, _ROUTER = 2, 4, 16, 64, 32, 128  # NTF_*
_STATES = {
    1: "INCOMPLETE",
    2: "REACHABLE",
    4: "STALE",
    8: "DELAY",
    16: "PROBE",
    32: "FAILED",
    64: "NOARP",
    128: "PERMANENT",
}
_FDB_STATES = {128: "permanent", 64: "static", 4: "stale"}


class Asker:
    """A route socket of one namespace."""

    def __init__(self, netns: Netns) -> None:
        self._sock = socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.connection = Connection(self._sock)

    def close(self) -> None:
        self._sock.close()

    def route(
        self, src: IPAddress | None, dst: IPAddress, *, iif: str, mark: int, proto: str, ports: tuple[int, int]
    ) -> str:
        """The route a packet takes: one that came in at `iif`, or one made here if that is "". "" for none."""
        family = socket.AF_INET if dst.version == 4 else socket.AF_INET6
        bits = dst.max_prefixlen
        parts = [struct.pack("=BBBBBBBBI", family, bits, bits if src else 0, 0, 0, 0, 0, 0, _FIB_MATCH)]
        parts.append(attr(_DST, dst.packed))
        parts += [attr(_SRC, src.packed)] if src else []
        parts += [attr_u32(_IIF, self._index(iif))] if iif else []
        parts += [attr_u32(_MARK, mark)] if mark else []
        parts += _transport(proto, ports)
        answer = self._ask(_RTM_GETROUTE, b"".join(parts))
        return self._route_text(answer) if answer else ""

    def neighbor(self, dev: str, address: IPAddress) -> str:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = _ndmsg(family, self._index(dev)) + attr(_NDA_DST, address.packed)
        answer = self._ask(_RTM_GETNEIGH, body)
        if not answer:
            return ""
        _, index, state, flags = _neighbor(answer)
        found = attributes(answer[12:])
        parts = [str(address), f"dev {self._name(index)}"]
        parts += [f"lladdr {found[_NDA_LLADDR].hex(':')}"] if _NDA_LLADDR in found else []
        parts += ["router"] if flags & _ROUTER else []
        parts += ["extern_learn"] if flags & _EXTERN else []
        return " ".join((*parts, *(name for bit, name in _STATES.items() if state & bit)))

    def fdb(self, dev: str, mac: str) -> str:
        """Of a tunnel: to which VTEP frames for `mac` go."""
        return self._fdb(
            _ndmsg(_AF_BRIDGE, self._index(dev), _SELF) + attr(_NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
        )

    def bridge_fdb(self, bridge: str, mac: str) -> str:
        """Of a bridge: behind which port `mac` is."""
        address = attr(_NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
        return self._fdb(_ndmsg(_AF_BRIDGE, 0, _MASTER) + address + attr_u32(_NDA_MASTER, self._index(bridge)))

    def _fdb(self, request: bytes) -> str:
        answer = self._ask(_RTM_GETNEIGH, request)
        if not answer:
            return ""
        _, index, state, flags = _neighbor(answer)
        found = attributes(answer[12:])
        parts = [found[_NDA_LLADDR].hex(":"), f"dev {self._name(index)}"]
        parts += [f"dst {ip_address(found[_NDA_DST])}"] if _NDA_DST in found else []
        marks = ((_SELF, "self"), (_ROUTER, "router"), (_EXTERN, "extern_learn"), (_OFFLOADED, "offload"))
        parts += [name for bit, name in marks if flags & bit]
        parts += ["sticky"] if flags & _STICKY else []
        if _NDA_MASTER in found:
            parts.append(f"master {self._name(struct.unpack('=I', found[_NDA_MASTER])[0])}")
        parts += [name for bit, name in _FDB_STATES.items() if state & bit][:1]
        return " ".join(parts)

    def _route_text(self, answer: bytes) -> str:
        family, length, _, _, table, protocol, scope, kind, flags = struct.unpack_from("=BBBBBBBBI", answer)
        found = attributes(answer[12:])
        table = _number(found.get(_TABLE)) or table
        parts = [_TYPES[kind]] if kind in _TYPES else []
        parts.append(_destination(found.get(_DST), length, family))
        parts += [f"via {ip_address(found[_GATEWAY])}"] if _GATEWAY in found else []
        parts += [f"dev {self._name(_number(found[_OIF]))}"] if _OIF in found else []
        parts += [f"table {_TABLES.get(table, table)}"] if table != 254 else []
        parts += [f"proto {_PROTOCOLS.get(protocol, protocol)}"] if protocol not in (0, 3) else []
        parts += [f"scope {_SCOPES.get(scope, scope)}"] if scope else []
        parts += [f"src {ip_address(found[_PREFSRC])}"] if _PREFSRC in found else []
        parts += [f"metric {_number(found[_PRIORITY])}"] if _PRIORITY in found else []
        parts += [name for bit, name in _FLAGS if flags & bit]
        parts += [f"pref {_PREFERENCES.get(found[_PREF][0], found[_PREF][0])}"] if _PREF in found else []
        return " ".join(parts)

    def _ask(self, kind: int, body: bytes) -> bytes:
        """The one answer; b"" if the kernel knows none."""
        self._sock.send(struct.pack("=IHHII", len(body) + 16, kind, _NLM_F_REQUEST, 1, 0) + body)
        for answer, _, _, payload in messages(self._sock.recv(65536)):
            return b"" if answer == _NLMSG_ERROR else payload
        return b""

    def _index(self, name: str) -> int:
        """0 for an interface that is not there, which no request is answered for."""
        try:
            raw = fcntl.ioctl(self._sock.fileno(), _SIOCGIFINDEX, struct.pack("=16sI20x", name.encode()[:15], 0))
        except OSError:
            return 0
        return int(struct.unpack_from("=I", raw, 16)[0])

    def _name(self, index: int) -> str:
        try:
            raw = fcntl.ioctl(self._sock.fileno(), _SIOCGIFNAME, struct.pack("=16sI20x", b"", index))
        except OSError:
            return f"if{index}"
        return raw[:16].split(b"\0")[0].decode()


def _transport(proto: str, ports: tuple[int, int]) -> list[bytes]:
    """What policy rules may look at. The kernel takes ports with TCP and UDP only."""
    if proto not in ("tcp", "udp"):
        return []
    given = [(kind, port) for kind, port in zip((_SPORT, _DPORT), ports, strict=True) if port]
    return [
        attr_u8(_IP_PROTO, _PROTOCOL_NUMBERS[proto]),
        *(attr(kind, struct.pack("!H", port)) for kind, port in given),
    ]


def _ndmsg(family: int, index: int, flags: int = 0) -> bytes:
    return struct.pack("=BxxxiHBB", family, index, 0, flags, 0)


def _neighbor(answer: bytes) -> tuple[int, int, int, int]:
    """(family, interface, state, flags)"""
    family, index, state, flags, _ = struct.unpack_from("=BxxxiHBB", answer)
    return family, index, state, flags


def _destination(raw: bytes | None, length: int, family: int) -> str:
    if raw is None:
        return "default"
    address = ip_address(raw)
    return str(address) if length == (32 if family == socket.AF_INET else 128) else f"{address}/{length}"


def _number(raw: bytes | None) -> int:
    return int(struct.unpack("=I", raw)[0]) if raw else 0
