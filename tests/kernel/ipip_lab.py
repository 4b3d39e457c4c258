"""Two Nodes with `tunl0` and a Pod each, as plan values: Pods are routed, as Calico joins them, and the routes by tunl0
are static. This machine decides who realises the tunnel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import lab

from emu.kernel import programs
from emu.plan.merge import merge
from emu.plan.model import Address, IpipBy, Link, NetnsKind, NetnsPlan, Plan, Role, Route, Sysctl
from emu.planners.cni import ipip

GATEWAY = ip_address("169.254.1.1")
BY = IpipBy.MODULE if programs.has_module() else IpipBy.EBPF
NODES = (1, 2)
MTU = 1480


def pod_address(n: int) -> str:
    return f"10.244.{n}.1"


def node(n: int, by: IpipBy) -> Iterator[NetnsPlan]:
    base = lab.node(n, 2, 0)
    plain = replace(base, links=base.links[:1], addresses=base.addresses[:1], routes=base.routes[:1], rules=())
    yield replace(plain, neighbors=(), fdb=(), sysctls=base.sysctls[:-1])
    yield ipip.tunnel(
        (by, n), f"node{n}", ip_address(f"192.168.100.{10 + n}"), ip_address(f"10.244.{n}.0"), MTU + 20, by
    )
    other = 3 - n
    to_other = Route(
        dst=ip_network(f"10.244.{other}.0/26"),
        via=ip_address(f"192.168.100.{10 + other}"),
        dev="tunl0",
        onlink=True,
        protocol="bird",
    )
    link = Link(
        name=f"cali{n}",
        kind="veth",
        role=Role.HOST_VETH,
        owner=f"default/p{n}",
        mtu=MTU,
        mac="ee:ee:ee:ee:ee:ee",
        peer=(f"default.p{n}", "eth0"),
    )
    yield NetnsPlan(
        name=f"node{n}",
        kind=NetnsKind.NODE,
        owner=f"node{n}",
        links=(link,),
        routes=(to_other, Route(dst=ip_network(f"{pod_address(n)}/32"), dev=f"cali{n}", scope="link")),
        sysctls=(
            Sysctl(key=f"net.ipv4.conf.cali{n}.proxy_arp", value="1"),
            Sysctl(key=f"net.ipv4.neigh.cali{n}.proxy_delay", value="0"),
        ),
    )


def pod(n: int) -> NetnsPlan:
    eth0 = Link(
        name="eth0",
        kind="veth",
        role=Role.POD_ETH,
        owner=f"default/p{n}",
        mtu=MTU,
        mac=lab.mac(6, n),
        peer=(f"node{n}", f"cali{n}"),
    )
    return NetnsPlan(
        name=f"default.p{n}",
        kind=NetnsKind.POD,
        owner=f"default/p{n}",
        links=(eth0,),
        addresses=(Address(dev="eth0", address=ip_interface(f"{pod_address(n)}/32")),),
        routes=(
            Route(dst=ip_network(GATEWAY), dev="eth0", scope="link"),
            Route(dst=ip_network("0.0.0.0/0"), dev="eth0", via=GATEWAY),
        ),
        sysctls=lab.QUIET,
    )


def plan(by: IpipBy = BY) -> Plan:
    fragments = [lab.fabric(2), *(each for n in NODES for each in node(n, by)), *(pod(n) for n in NODES)]
    return Plan(name="lab", seed=1, netns=merge(fragments))
