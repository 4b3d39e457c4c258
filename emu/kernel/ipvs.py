"""IPVS by generic netlink: the services of a namespace and their servers, written in one send, read, and the
connections they have been given. Source: linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c."""

from __future__ import annotations

import errno as errnos
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from emu.errors import KernelError, MissingFeature, NotPermitted
from emu.kernel import userns
from emu.kernel.netlink import (
    NLM_F_DUMP,
    Connection,
    Request,
    attr,
    attr_text,
    attr_u32,
    attributes,
    nested,
)
from emu.kernel.netns import Netns, entered, socket_in
from emu.plan import diff, render
from emu.plan.ipvs import WHOLE_ADDRESS, Forwarding, RealServer, Taken, VirtualService
from emu.plan.model import Changes, IPAddress, NetnsChange, Sysctl
from emu.trace import balancer
from emu.trace.model import Headers

log = logging.getLogger(__name__)

MODULE, SYSCTLS = "/sys/module/ip_vs", "net.ipv4.vs."
_FAMILY = "IPVS"
_NETLINK_GENERIC, _CTRL, _CTRL_GETFAMILY, _CTRL_ID, _CTRL_NAME = 16, 0x10, 3, 1, 2
_NEW_SERVICE, _SET_SERVICE, _DEL_SERVICE, _GET_SERVICE, _NEW_DEST, _SET_DEST, _DEL_DEST, _GET_DEST = range(1, 9)
_ATTR_SERVICE, _ATTR_DEST = 1, 2
_SVC_AF, _SVC_PROTOCOL, _SVC_ADDR, _SVC_PORT, _SVC_FWMARK = range(1, 6)
_SVC_SCHED, _SVC_FLAGS, _SVC_TIMEOUT, _SVC_NETMASK = range(6, 10)
_DEST_ADDR, _DEST_PORT, _DEST_FWD, _DEST_WEIGHT, _DEST_UPPER, _DEST_LOWER, _DEST_AF = 1, 2, 3, 4, 5, 6, 11
_PERSISTENT = 0x1
_FLAGS = {"ops": 0x4, "flag-1": 0x8, "flag-2": 0x10, "flag-3": 0x20}
_METHODS = {Forwarding.MASQ: 0, Forwarding.TUNNEL: 2, Forwarding.ROUTE: 3}
_METHOD_OF = {number: method for method, number in _METHODS.items()}
_METHOD_MASK = 0x7
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_GONE = frozenset({errnos.ENOENT, errnos.ESRCH})
_HEAD = struct.Struct("=BBH")  # command, version, reserved
ROOT = "run emu as root"

Value = VirtualService | RealServer


class Connected(NamedTuple):
    """A connection that IPVS keeps: who came, for what, and the server it was given."""

    proto: str
    client: tuple[IPAddress, int]
    virtual: tuple[IPAddress, int]
    server: tuple[IPAddress, int]


def has_module() -> bool:
    """Whether it is loaded, or built in. Looked up, not tried: asking for it would load it."""
    return os.path.exists(MODULE)


def check(changes: Changes) -> None:
    """Before the first effect. Raises HostError."""
    if any(_wants(value) for change in changes.netns for value in change.added):
        require("IPVS")


def _wants(value: object) -> bool:
    return isinstance(value, VirtualService) or (isinstance(value, Sysctl) and value.key.startswith(SYSCTLS))


def require(what: str) -> None:
    """Raises HostError: without the module, and for an ordinary user. Long after 6.1 the kernel asked for the machine's
    own CAP_NET_ADMIN (GENL_ADMIN_PERM), and showed a user's namespace none of the sysctls."""
    if not has_module():
        raise MissingFeature(what, module="ip_vs", hint=_remedy())
    if userns.needed():
        raise NotPermitted(f"{what} is for root alone: many kernels let an ordinary user have none of it", hint=ROOT)


def _remedy() -> str:
    return "modprobe -a ip_vs ip_vs_rr xt_ipvs; or, with cni docker-swarm, endpoint_mode: dnsrr and no published ports"


def tried() -> str:
    """For `emu doctor`."""
    require("IPVS")
    with _opened(None) as connection:
        identity(connection)
    return "by the kernel's ip_vs module"


def change(netns: Netns, before: NetnsChange, values: Sequence[Value]) -> None:
    """Add those that are new, and change those that were there, in one send. Raises KernelError."""
    if not values:
        return
    there = {diff.key(value) for value in diff.in_order(before.old)} if before.old else set()
    _execute(netns, values, [diff.key(value) in there for value in values], _made)


def remove(netns: Netns, values: Sequence[Value]) -> None:
    if values:
        _execute(netns, values, [False] * len(values), _removed, removing=True)


def _execute(
    netns: Netns,
    values: Sequence[Value],
    exists: Sequence[bool],
    asked: Callable[[Value, bool], bytes],
    removing: bool = False,
) -> None:
    commands = [
        render.command(netns.name, value, remove=removing, exists=known)
        for value, known in zip(values, exists, strict=True)
    ]
    for command in commands:
        log.info("%s", command)
    with _opened(netns) as connection:
        family = identity(connection)
        requests = [Request(family, 0, asked(*each)) for each in zip(values, exists, strict=True)]
        failures = connection.execute(requests)
    for failure in failures:
        if not (removing and failure.errno in _GONE):
            raise KernelError(f"{commands[failure.index]} : IPVS says {os.strerror(failure.errno)}")


@contextmanager
def _opened(netns: Netns | None) -> Iterator[Connection]:
    kind = socket.SOCK_RAW
    sock = (
        socket_in(netns, socket.AF_NETLINK, kind, _NETLINK_GENERIC)
        if netns
        else socket.socket(socket.AF_NETLINK, kind | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    )
    connection = Connection(sock)
    try:
        yield connection
    finally:
        connection.close()


def identity(connection: Connection) -> int:
    """The number that messages of IPVS have. A list of all families: asking for one by its name would load it."""
    for body in connection.dump(_CTRL, _HEAD.pack(_CTRL_GETFAMILY, 1, 0)):
        found = attributes(body[_HEAD.size :])
        if found.get(_CTRL_NAME, b"").rstrip(b"\0").decode() == _FAMILY:
            return int.from_bytes(found[_CTRL_ID], "little" if _LITTLE else "big")
    raise MissingFeature("IPVS", module="ip_vs", hint=_remedy())


_LITTLE = struct.pack("=H", 1) == b"\1\0"


# ---- messages


def _made(value: Value, exists: bool) -> bytes:
    if isinstance(value, VirtualService):
        return _message(_SET_SERVICE if exists else _NEW_SERVICE, _service(value))
    return _message(_SET_DEST if exists else _NEW_DEST, _taken(value.taken), _server(value))


def _removed(value: Value, _exists: bool) -> bytes:
    if isinstance(value, VirtualService):
        return _message(_DEL_SERVICE, _taken(value.taken))
    return _message(_DEL_DEST, _taken(value.taken), _server(value))


def _message(command: int, *parts: bytes) -> bytes:
    return _HEAD.pack(command, 1, 0) + b"".join(parts)


def _taken(taken: Taken) -> bytes:
    return nested(_ATTR_SERVICE, *_identifying(taken))


def _identifying(taken: Taken) -> Iterator[bytes]:
    yield attr(_SVC_AF, struct.pack("=H", _af(taken.family)))
    if taken.mark:
        yield attr_u32(_SVC_FWMARK, taken.mark)
    elif taken.address is not None:
        yield attr(_SVC_PROTOCOL, struct.pack("=H", _PROTOCOLS[taken.protocol]))
        yield attr(_SVC_ADDR, taken.address.packed.ljust(16, b"\0"))
        yield attr(_SVC_PORT, struct.pack("!H", taken.port))


def _service(value: VirtualService) -> bytes:
    flags = sum(_FLAGS[each] for each in value.flags) | (_PERSISTENT if value.persistent_s else 0)
    return nested(
        _ATTR_SERVICE,
        *_identifying(value.taken),
        attr_text(_SVC_SCHED, value.scheduler),
        attr(_SVC_FLAGS, struct.pack("=II", flags, 0xFFFFFFFF)),
        attr_u32(_SVC_TIMEOUT, value.persistent_s),
        attr(_SVC_NETMASK, _netmask(value)),
    )


def _netmask(value: VirtualService) -> bytes:
    """Of IPv4 a mask as on the wire, of IPv6 the length of a prefix."""
    family = value.taken.family
    prefix = WHOLE_ADDRESS[family] if value.persistent_prefix is None else value.persistent_prefix
    return struct.pack("!I", ~0 << 32 - prefix & 0xFFFFFFFF) if family == 4 else struct.pack("=I", prefix)


def _server(value: RealServer) -> bytes:
    return nested(
        _ATTR_DEST,
        attr(_DEST_ADDR, value.address.packed.ljust(16, b"\0")),
        attr(_DEST_PORT, struct.pack("!H", value.port)),
        attr(_DEST_AF, struct.pack("=H", _af(value.address.version))),
        attr_u32(_DEST_FWD, _METHODS[value.forwarding]),
        attr_u32(_DEST_WEIGHT, value.weight),
        attr_u32(_DEST_UPPER, 0),
        attr_u32(_DEST_LOWER, 0),
    )


def _af(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6


# ---- what is there


@dataclass(frozen=True, slots=True)
class Balancer:
    services: tuple[VirtualService, ...] = ()
    servers: tuple[RealServer, ...] = ()


def read(netns: Netns) -> Balancer:
    """Empty where the kernel has no IPVS."""
    if not has_module():
        return Balancer()
    with _opened(netns) as connection:
        family = identity(connection)
        bodies = connection.dump(family, _message(_GET_SERVICE), NLM_F_DUMP)
        services = tuple(_service_of(attributes(_nest(body, _ATTR_SERVICE))) for body in bodies)
        servers = tuple(server for each in services for server in _servers(connection, family, each.taken))
    return Balancer(services, servers)


def _servers(connection: Connection, family: int, taken: Taken) -> Iterable[RealServer]:
    for body in connection.dump(family, _message(_GET_DEST, _taken(taken)), NLM_F_DUMP):
        found = attributes(_nest(body, _ATTR_DEST))
        version = 6 if _DEST_AF in found and _short(found[_DEST_AF]) == socket.AF_INET6 else 4
        version = version if _DEST_AF in found else taken.family
        yield RealServer(
            taken=taken,
            address=ip_address(found[_DEST_ADDR][: 4 if version == 4 else 16]),
            port=int.from_bytes(found[_DEST_PORT], "big"),
            forwarding=_METHOD_OF.get(_long(found[_DEST_FWD]) & _METHOD_MASK, Forwarding.MASQ),
            weight=_long(found[_DEST_WEIGHT]),
        )


def _service_of(found: dict[int, bytes]) -> VirtualService:
    family = 6 if _short(found[_SVC_AF]) == socket.AF_INET6 else 4
    flags, seconds = struct.unpack_from("=I", found[_SVC_FLAGS])[0], _long(found[_SVC_TIMEOUT])
    persistent = bool(flags & _PERSISTENT)
    return VirtualService(
        taken=_taken_of(family, found),
        scheduler=found[_SVC_SCHED].rstrip(b"\0").decode(),
        persistent_s=seconds if persistent else 0,
        persistent_prefix=_prefix(family, found[_SVC_NETMASK]),
        flags=tuple(name for name, bit in _FLAGS.items() if flags & bit),
    )


def _taken_of(family: int, found: dict[int, bytes]) -> Taken:
    if mark := _long(found.get(_SVC_FWMARK, bytes(4))):
        return Taken(family=family, mark=mark)
    names = {number: name for name, number in _PROTOCOLS.items()}
    number = _short(found[_SVC_PROTOCOL])
    return Taken(
        family=family,
        protocol=names.get(number, str(number)),
        address=ip_address(found[_SVC_ADDR][: 4 if family == 4 else 16]),
        port=int.from_bytes(found[_SVC_PORT], "big"),
    )


def _prefix(family: int, raw: bytes) -> int | None:
    prefix = int.from_bytes(raw, "big").bit_count() if family == 4 else _long(raw)
    return None if prefix == WHOLE_ADDRESS[family] else prefix


def _nest(body: bytes, kind: int) -> bytes:
    return attributes(body[_HEAD.size :])[kind]


def _short(raw: bytes) -> int:
    return int(struct.unpack("=H", raw)[0])


def _long(raw: bytes) -> int:
    return int(struct.unpack("=I", raw)[0])


def connections(netns: Netns) -> tuple[Connected, ...]:
    """Those it keeps, which stay for a while when they have ended."""
    try:
        with entered(netns), open("/proc/thread-self/net/ip_vs_conn", encoding="ascii") as file:
            lines = file.read().splitlines()[1:]
    except FileNotFoundError:
        return ()
    return tuple(_connection(line.split()) for line in lines)


def _connection(words: Sequence[str]) -> Connected:
    ends = [(_address(words[at]), int(words[at + 1], 16)) for at in (1, 3, 5)]
    return Connected(words[0].lower(), *ends)


def _address(text: str) -> IPAddress:
    return ip_address(text.strip("[]")) if ":" in text else ip_address(int(text, 16))


def chosen(netns: Netns, headers: Headers, mark: int) -> str:
    """In the words of `trace.balancer`; "" if no connection is of such a packet, or its service is gone."""
    ends = (headers.proto, (headers.src, headers.sport), (headers.dst, headers.dport))
    server = next((each.server for each in connections(netns) if each[:3] == ends), None)
    found = read(netns) if server else Balancer()
    asked = Taken(family=headers.dst.version, protocol=headers.proto, address=headers.dst, port=headers.dport)
    for taken in (Taken(family=headers.dst.version, mark=mark), asked):
        for service in (each for each in found.services if each.taken == taken):
            for each in (each for each in found.servers if each.taken == taken):
                if server == (each.address, each.port or headers.dport):
                    return balancer.text(service, each)
    return ""
