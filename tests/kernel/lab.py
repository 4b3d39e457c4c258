"""A small lab as plan values: a fabric switch, two Nodes with a bridge and a VXLAN link each, a Pod on each."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from emu.plan.model import (
    Address,
    FdbEntry,
    Link,
    Neighbor,
    NetnsKind,
    NetnsPlan,
    Plan,
    PolicyRule,
    Role,
    Route,
    Sysctl,
    Vxlan,
)

QUIET = tuple(Sysctl(key=f"net.ipv6.conf.{which}.disable_ipv6", value="1") for which in ("all", "default"))


def mac(*numbers: int) -> str:
    return "02:00:00:" + ":".join(f"{n:02x}" for n in (*numbers, 0, 0, 0)[:3])


def fabric(nodes: int) -> NetnsPlan:
    ports = (
        Link(
            name=f"sw-node{n}",
            kind="veth",
            role=Role.FABRIC,
            owner="sw",
            mac=mac(1, n),
            master="sw",
            peer=(f"node{n}", "eth0"),
        )
        for n in range(1, nodes + 1)
    )
    switch = Link(name="sw", kind="bridge", role=Role.FABRIC, owner="sw", mac=mac(9))
    return NetnsPlan(name="fabric", kind=NetnsKind.FABRIC, owner="fabric", links=(switch, *ports), sysctls=QUIET)


def node(n: int, nodes: int, pods: int) -> NetnsPlan:
    name = f"node{n}"
    uplink = Link(name="eth0", kind="veth", role=Role.UPLINK, owner=name, mac=mac(2, n), peer=("fabric", f"sw-{name}"))
    cni0 = Link(name="cni0", kind="bridge", role=Role.BRIDGE, owner=name, mtu=1450, mac=mac(3, n))
    vxlan = Vxlan(vni=1, local=ip_address(f"192.168.100.{10 + n}"), dev="eth0", port=8472)
    flannel = Link(name="flannel.1", kind="vxlan", role=Role.TUNNEL, owner=name, mtu=1450, mac=mac(4, n), vxlan=vxlan)
    others = [m for m in range(1, nodes + 1) if m != n]
    return NetnsPlan(
        name=name,
        kind=NetnsKind.NODE,
        owner=name,
        links=(uplink, cni0, flannel, *(host_veth(n, p) for p in range(1, pods + 1))),
        addresses=(
            Address(dev="eth0", address=ip_interface(f"192.168.100.{10 + n}/24")),
            Address(dev="cni0", address=ip_interface(f"10.244.{n}.1/24")),
            Address(dev="flannel.1", address=ip_interface(f"10.244.{n}.0/32")),
        ),
        routes=(
            Route(dst=ip_network("0.0.0.0/0"), via=ip_address("192.168.100.1"), dev="eth0"),
            *(
                Route(dst=ip_network(f"10.244.{m}.0/24"), via=ip_address(f"10.244.{m}.0"), dev="flannel.1", onlink=True)
                for m in others
            ),
        ),
        neighbors=tuple(Neighbor(dev="flannel.1", address=ip_address(f"10.244.{m}.0"), mac=mac(4, m)) for m in others),
        fdb=tuple(FdbEntry(dev="flannel.1", mac=mac(4, m), dst=ip_address(f"192.168.100.{10 + m}")) for m in others),
        rules=(PolicyRule(priority=512, table=254, dst=ip_network("10.244.9.9/32")),) if n == 1 else (),
        sysctls=(
            *QUIET,
            Sysctl(key="net.ipv4.ip_forward", value="1"),
            Sysctl(key="net.ipv4.conf.flannel/1.forwarding", value="1"),
        ),
    )


def host_veth(n: int, p: int) -> Link:
    return Link(
        name=f"veth{n:04x}{p:04x}",
        kind="veth",
        role=Role.HOST_VETH,
        owner=f"default/p{n}-{p}",
        mtu=1450,
        mac=mac(5, n, p),
        master="cni0",
        hairpin=True,
        peer=(f"default.p{n}-{p}", "eth0"),
    )


def pod(n: int, p: int) -> NetnsPlan:
    owner = f"default/p{n}-{p}"
    eth0 = Link(
        name="eth0",
        kind="veth",
        role=Role.POD_ETH,
        owner=owner,
        mtu=1450,
        mac=mac(6, n, p),
        peer=(f"node{n}", f"veth{n:04x}{p:04x}"),
    )
    gateway = ip_address(f"10.244.{n}.1")
    return NetnsPlan(
        name=f"default.p{n}-{p}",
        kind=NetnsKind.POD,
        owner=owner,
        links=(eth0,),
        addresses=(Address(dev="eth0", address=ip_interface(f"10.244.{n}.{1 + p}/24")),),
        routes=(
            Route(dst=ip_network("0.0.0.0/0"), via=gateway, dev="eth0"),
            Route(dst=ip_network("10.244.0.0/16"), via=gateway, dev="eth0"),
        ),
        sysctls=QUIET,
    )


def plan(nodes: int = 2, pods: int = 1) -> Plan:
    spaces = [fabric(nodes), *(node(n, nodes, pods) for n in range(1, nodes + 1))]
    spaces += [pod(n, p) for n in range(1, nodes + 1) for p in range(1, pods + 1)]
    return Plan(name="lab", seed=1, netns={space.name: space for space in spaces})
