"""A fabric of kind vpc: what is there beside the Nodes. The VPC itself, with the gateway address of each subnet, and
behind its internet gateway one machine that stands for the internet.

The internet knows a Node by a public address, which the gateway puts in place of the private one of its eth0, and the
other way round: one for one, and for no other address of the VPC."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_interface, ip_network

from emu import names
from emu.cluster.model import IPNetwork, Router, RouterPort

PUBLIC: IPv4Network = IPv4Network("198.51.100.0/24")  # Node n has number 10+n
GATEWAY = "igw"  # the VPC's interface towards the internet
OUTSIDE: IPNetwork = ip_network("203.0.113.0/24")
HOST, ROUTER = OUTSIDE[10], OUTSIDE[1]


def public_address(index: int) -> IPv4Address:
    return PUBLIC[10 + index]


def routers() -> tuple[Router, Router]:
    gateway = RouterPort(dev=GATEWAY, switch="", addresses=(ip_interface(f"{ROUTER}/{OUTSIDE.prefixlen}"),))
    host = RouterPort(dev=names.UPLINK, switch="", addresses=(ip_interface(f"{HOST}/{OUTSIDE.prefixlen}"),))
    return (
        Router(name=names.VPC, ports=(gateway,)),
        Router(name=names.INTERNET, ports=(host,), routes=((PUBLIC, ROUTER),)),
    )
