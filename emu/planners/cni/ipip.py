"""`tunl0` of a Node, by the kernel's ipip module or by eBPF: all of it but the routes, which say where it leads.

Both take the outer destination from the gateway of the route: `10.244.2.0/26 via 192.168.100.12 dev tunl0 onlink`."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_interface

from emu import names
from emu.memo import Memo
from emu.plan.model import Address, Ipip, IpipBy, Link, NetnsKind, NetnsPlan, Role, TcProgram

DEVICE = "tunl0"
OVERHEAD = 20  # the outer IPv4 header


def _make_tunnel(node: str, local: IPv4Address, address: IPv4Address, mtu: int, by: IpipBy) -> NetnsPlan:
    """`local` is the Node's own address, `address` the one it has in the Pod network; `mtu` the uplink's."""
    link = Link(
        name=DEVICE,
        kind="ipip",
        role=Role.TUNNEL,
        owner=node,
        mtu=mtu - OVERHEAD,
        ipip=Ipip(local=local, dev=names.UPLINK, by=by),
    )
    return NetnsPlan(
        name=node,
        kind=NetnsKind.NODE,
        owner=node,
        links=(link,),
        addresses=(Address(dev=DEVICE, address=ip_interface(address)),),
        programs=_programs(local) if by is IpipBy.EBPF else (),
    )


def _programs(local: IPv4Address) -> tuple[TcProgram, TcProgram]:
    """`config` as in ipip.c."""
    config = (DEVICE, names.UPLINK, local)
    return (
        TcProgram(dev=DEVICE, where="egress", file="ipip", name="ipip_encap", config=config),
        TcProgram(dev=names.UPLINK, where="ingress", file="ipip", name="ipip_decap", protocol="ip", config=config),
    )


tunnel: Memo[NetnsPlan] = Memo(_make_tunnel)
