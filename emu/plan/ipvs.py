"""IPVS, the kernel's load balancer: virtual services and the servers behind them, as values and as `ipvsadm` says them.

A service is known by what it takes packets by: a protocol, an address and a port, as kube-proxy asks for it, or a
firewall mark that rules have put on them, as Docker's Swarm does. Source: linux/ip_vs.h, ipvsadm(8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from emu.addressing import IPAddress

WHOLE_ADDRESS = {4: 32, 6: 128}


class Forwarding(StrEnum):
    """How a server is sent its packets. The value is ipvsadm's word in a list."""

    MASQ = "Masq"  # the destination is changed, and the source of answers, which must come back this way
    ROUTE = "Route"  # to the server's MAC, unchanged: it has the service's address itself
    TUNNEL = "Tunnel"  # inside IPIP, unchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a service takes packets by: `mark`, or if it is 0 the rest. `protocol`: tcp, udp, sctp."""

    family: int = 4
    mark: int = 0
    protocol: str = ""
    address: IPAddress | None = None
    port: int = 0

    def __str__(self) -> str:
        """As a list begins its line."""
        if self.mark:
            return f"FWM  {self.mark}{' IPv6' if self.family == 6 else ''}"
        return f"{self.protocol.upper():<4} {_end(self.address, self.port)}"

    @property
    def option(self) -> str:
        """On a command line."""
        if self.mark:
            return f"-f {self.mark}{' -6' if self.family == 6 else ''}"
        letter = "--sctp-service" if self.protocol == "sctp" else f"-{self.protocol[:1]}"
        return f"{letter} {_end(self.address, self.port)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualService:
    """`persistent_s`: who has come before goes to the same server within so many seconds; 0: not so.
    `persistent_prefix`: clients of such a network count as one; None: each for itself. `flags`: flag-1 to flag-3, which
    mean what its scheduler says, and ops."""

    taken: Taken
    scheduler: str = "rr"
    persistent_s: int = 0
    persistent_prefix: int | None = None
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As `ipvsadm -Ln` prints it."""
        kept = f" persistent {self.persistent_s}" if self.persistent_s else ""
        mask = f" mask {self._mask}" if self.persistent_prefix is not None else ""
        flags = f" ({','.join(self._scheduling)})" if self._scheduling else ""
        return f"{self.taken} {self.scheduler}{flags}{kept}{mask}{' ops' if 'ops' in self.flags else ''}"

    @property
    def _scheduling(self) -> list[str]:
        return [each for each in self.flags if each != "ops"]

    @property
    def _mask(self) -> str:
        assert self.persistent_prefix is not None
        if self.taken.family == 6:
            return str(self.persistent_prefix)
        bits = ~0 << 32 - self.persistent_prefix & 0xFFFFFFFF
        return ".".join(str(bits >> shift & 255) for shift in (24, 16, 8, 0))

    @property
    def options(self) -> str:
        """On a command line."""
        parts = [self.taken.option, f"-s {self.scheduler}"]
        parts += [f"-b {','.join(self._scheduling)}"] if self._scheduling else []
        parts += ["-o"] if "ops" in self.flags else []
        parts += [f"-p {self.persistent_s}"] if self.persistent_s else []
        parts += [f"-M {self._mask}"] if self.persistent_prefix is not None else []
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A server of a service. Port 0: that which the packet was sent to. Of weight 0, it is given no new connection."""

    taken: Taken
    address: IPAddress
    port: int = 0
    forwarding: Forwarding = Forwarding.MASQ
    weight: int = 1

    def __str__(self) -> str:
        """As `ipvsadm -Ln` prints it, behind the line of its service."""
        return f"-> {self.end} {self.forwarding} {self.weight}"

    @property
    def end(self) -> str:
        return _end(self.address, self.port)

    @property
    def options(self) -> str:
        """On a command line."""
        how = {Forwarding.MASQ: "-m", Forwarding.ROUTE: "-g", Forwarding.TUNNEL: "-i"}[self.forwarding]
        return f"{self.taken.option} -r {self.end} {how} -w {self.weight}"


def command(value: VirtualService | RealServer, *, remove: bool = False, exists: bool = False) -> str:
    """`ipvsadm -A -f 256 -s rr`, `ipvsadm -a -f 256 -r 10.0.1.3:0 -m -w 1`."""
    if isinstance(value, VirtualService):
        return f"ipvsadm -D {value.taken.option}" if remove else f"ipvsadm {'-E' if exists else '-A'} {value.options}"
    if remove:
        return f"ipvsadm -d {value.taken.option} -r {value.end}"
    return f"ipvsadm {'-e' if exists else '-a'} {value.options}"


def _end(address: IPAddress | None, port: int) -> str:
    return f"[{address}]:{port}" if address is not None and address.version == 6 else f"{address}:{port}"
