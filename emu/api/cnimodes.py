"""What a CNI mode decides beside the kernel state its planner makes. One that decides nothing need not stand here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CniMode:
    """`ipam` is a name in `cluster.ipam.KINDS`. `tunnels`: by IP family, the Node annotation in which Calico keeps the
    address of a Node's tunnel device, for families that have one."""

    name: str
    ipam: str = "host-local"
    tunnels: Mapping[int, str] = field(default_factory=dict)


_CALICO = "projectcalico.org/"

CNI_MODES: tuple[CniMode, ...] = (
    CniMode(
        name="calico-vxlan",
        ipam="calico",
        tunnels={4: f"{_CALICO}IPv4VXLANTunnelAddr", 6: f"{_CALICO}IPv6VXLANTunnelAddr"},
    ),
    CniMode(name="calico-ipip", ipam="calico", tunnels={4: f"{_CALICO}IPv4IPIPTunnelAddr"}),
    CniMode(name="calico-bgp", ipam="calico"),
)


def cni_mode(name: str) -> CniMode:
    return next((mode for mode in CNI_MODES if mode.name == name), CniMode(name=name))
