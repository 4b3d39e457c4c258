"""What a handler of the shared server is: the ports it wants, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from emu.workloads.http import BadRequest, Request, Response

SocketAddress = tuple[str, int]


class Port(NamedTuple):
    """A socket wanted: `role` is the server's name for it, `kind` tcp or udp; number 0 is any free port."""

    role: str
    kind: str
    number: int


class BadArguments(Exception):
    """What the program would print on standard error before it ends with status 1."""


@dataclass(slots=True)
class Served:
    """One container served. `log` writes to its log, `exit` ends it with a status."""

    hostname: str
    argv: tuple[str, ...]
    log: Callable[[str], None]
    exit: Callable[[int], None]
    has_udp: bool = False
    now: Callable[[], float] = field(kw_only=True)


class Handler(Protocol):
    """Handlers keep no state of their own: everything about a container is in its `Served`."""

    def ports(self, argv: tuple[str, ...]) -> tuple[Port, ...]:
        """Raises BadArguments."""

    def bind_failed(self, port: Port, error: OSError) -> str:
        """What the real program prints when it cannot have a port."""

    def started(self, served: Served) -> None: ...

    def http(self, served: Served, request: Request, server: SocketAddress, client: SocketAddress) -> Response: ...

    def bad(self, served: Served, error: BadRequest, client: SocketAddress) -> Response: ...

    def datagram(self, served: Served, data: bytes, client: SocketAddress) -> bytes | None:
        """The reply, None for none."""


def plain(address: SocketAddress) -> SocketAddress:
    """An IPv4 client of a dual-stack socket looks like ::ffff:10.0.0.1; programs print it as IPv4."""
    value = ip_address(address[0].split("%")[0])
    mapped = value.ipv4_mapped if value.version == 6 else None
    return str(mapped or value), address[1]


def joined(address: SocketAddress) -> str:
    """`10.0.0.1:80`, `[fd00::1]:80`, as Go prints it."""
    host, port = plain(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
