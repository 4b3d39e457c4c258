"""A two-node Flannel cluster as a plan made by hand, so that these tests depend on no planner. Each node has
two Pods on cni0, .2 and .3; they declare the ports 8080 (TCP) and 53 (UDP)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from emu.api.images import Program
from emu.api.objects import Container, ContainerPort
from emu.netfilter import parse
from emu.netfilter.model import Table
from emu.plan.model import (
    Address,
    FdbEntry,
    Link,
    Neighbor,
    NetnsKind,
    NetnsPlan,
    Plan,
    PodSandbox,
    Process,
    Role,
    Route,
    Sysctl,
    Vxlan,
)

POD_MAC, BRIDGE_MAC, NODE_MAC, TUNNEL_MAC = (
    "02:00:00:a0:0{}:0{}",
    "02:00:00:c0:00:0{}",
    "02:00:00:00:0{}:00",
    "02:00:00:00:0f:0{}",
)

NAT = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:FLANNEL-POSTRTG - [0:0]
{chains}
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
{rules}
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.{n}.0/24 -d 10.244.0.0/16 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.{n}.0/24 -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.{n}.0/24 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully
COMMIT
"""

FILTER = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
{rejects}
COMMIT
"""

Service = tuple[str, str, int, tuple[str, ...]]  # cluster IP, protocol, port, endpoints
WEB: Service = ("10.96.0.5", "tcp", 80, ("10.244.1.3:8080", "10.244.2.2:8080"))
ONE: Service = ("10.96.0.6", "tcp", 80, ("10.244.1.2:8080",))
DNS: Service = ("10.96.0.10", "udp", 53, ("10.244.2.2:53",))
API: Service = ("10.96.0.1", "tcp", 443, ("192.168.100.11:6443",))
NONE: Service = ("10.96.0.9", "tcp", 80, ())


def cluster(services: Iterable[Service] = (WEB, ONE, DNS, API, NONE)) -> Plan:
    services = tuple(services)
    netns = {"fabric": _fabric()}
    for n in (1, 2):
        netns[f"node{n}"] = _node(n, services)
        for i in (2, 3):
            netns[f"default.{pod(n, i)}"] = _pod(n, i)
    return Plan(name="lab", seed=0, netns=netns)


def pod(n: int, i: int) -> str:
    return f"{'ab'[n - 1]}{i}"


def without(plan: Plan, netns: str, **changed: object) -> Plan:
    return replace(plan, netns={**plan.netns, netns: replace(plan.netns[netns], **changed)})


def _fabric() -> NetnsPlan:
    ports = tuple(
        Link(
            name=f"fabric-node{n}",
            kind="veth",
            role=Role.FABRIC,
            owner="fabric",
            master="fabric",
            peer=(f"node{n}", "eth0"),
        )
        for n in (1, 2)
    )
    return NetnsPlan(
        name="fabric",
        kind=NetnsKind.FABRIC,
        owner="fabric",
        links=(Link(name="fabric", kind="bridge", role=Role.FABRIC, owner="fabric"), *ports),
        sysctls=(Sysctl(key="net.bridge.bridge-nf-call-iptables", value="0"),),
    )


def _node(n: int, services: tuple[Service, ...]) -> NetnsPlan:
    me, other = f"node{n}", 3 - n
    veths = tuple(
        Link(
            name=f"veth{pod(n, i)}",
            kind="veth",
            role=Role.HOST_VETH,
            owner=f"default/{pod(n, i)}",
            mtu=1450,
            master="cni0",
            hairpin=True,
            peer=(f"default.{pod(n, i)}", "eth0"),
        )
        for i in (2, 3)
    )
    tunnel = Vxlan(vni=1, local=ip_address(f"192.168.100.1{n}"), dev="eth0", port=8472)
    return NetnsPlan(
        name=me,
        kind=NetnsKind.NODE,
        owner=me,
        links=(
            Link(
                name="eth0",
                kind="veth",
                role=Role.UPLINK,
                owner=me,
                mac=NODE_MAC.format(n),
                peer=("fabric", f"fabric-node{n}"),
            ),
            Link(name="cni0", kind="bridge", role=Role.BRIDGE, owner=me, mtu=1450, mac=BRIDGE_MAC.format(n)),
            Link(
                name="flannel.1",
                kind="vxlan",
                role=Role.TUNNEL,
                owner=me,
                mtu=1450,
                mac=TUNNEL_MAC.format(n),
                vxlan=tunnel,
            ),
            *veths,
        ),
        addresses=(
            Address(dev="eth0", address=ip_interface(f"192.168.100.1{n}/24")),
            Address(dev="flannel.1", address=ip_interface(f"10.244.{n}.0/32")),
            Address(dev="cni0", address=ip_interface(f"10.244.{n}.1/24")),
        ),
        routes=(
            Route(dst=ip_network("0.0.0.0/0"), via=ip_address("192.168.100.1"), dev="eth0"),
            Route(
                dst=ip_network(f"10.244.{other}.0/24"),
                via=ip_address(f"10.244.{other}.0"),
                dev="flannel.1",
                onlink=True,
            ),
        ),
        neighbors=(Neighbor(dev="flannel.1", address=ip_address(f"10.244.{other}.0"), mac=TUNNEL_MAC.format(other)),),
        fdb=(FdbEntry(dev="flannel.1", mac=TUNNEL_MAC.format(other), dst=ip_address(f"192.168.100.1{other}")),),
        sysctls=(
            Sysctl(key="net.ipv4.ip_forward", value="1"),
            Sysctl(key="net.bridge.bridge-nf-call-iptables", value="1"),
        ),
        tables=tables(n, services),
    )


def tables(n: int, services: tuple[Service, ...]) -> tuple[Table, ...]:
    chains, rules, rejects = [], [], []
    for k, (ip, proto, port, endpoints) in enumerate(services):
        to = f"-d {ip}/32 -p {proto} -m {proto} --dport {port}"
        if not endpoints:
            rejects.append(f"-A KUBE-SERVICES {to} -j REJECT")
            continue
        chains.append(f":KUBE-SVC-{k} - [0:0]")
        rules += [
            f"-A KUBE-SERVICES {to} -j KUBE-SVC-{k}",
            f"-A KUBE-SVC-{k} ! -s 10.244.0.0/16 {to} -j KUBE-MARK-MASQ",
        ]
        for e, endpoint in enumerate(endpoints):
            left = len(endpoints) - e
            share = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            chains.append(f":KUBE-SEP-{k}-{e} - [0:0]")
            rules += [
                f"-A KUBE-SVC-{k} {share}-j KUBE-SEP-{k}-{e}",
                f"-A KUBE-SEP-{k}-{e} -s {endpoint.split(':')[0]}/32 -j KUBE-MARK-MASQ",
                f"-A KUBE-SEP-{k}-{e} -p {proto} -m {proto} -j DNAT --to-destination {endpoint}",
            ]
    nat = NAT.format(n=n, chains="\n".join(chains), rules="\n".join(rules))
    return (*parse.save(nat, 4), *parse.save(FILTER.format(rejects="\n".join(rejects)), 4))


def _pod(n: int, i: int) -> NetnsPlan:
    name = pod(n, i)
    ports = (ContainerPort(container_port=8080), ContainerPort(container_port=53, protocol="UDP"))
    container = Container(name="c", image="x", ports=ports)
    return NetnsPlan(
        name=f"default.{name}",
        kind=NetnsKind.POD,
        owner=f"default/{name}",
        links=(
            Link(
                name="eth0",
                kind="veth",
                role=Role.POD_ETH,
                owner=f"default/{name}",
                mtu=1450,
                mac=POD_MAC.format(n, i),
                peer=(f"node{n}", f"veth{name}"),
            ),
        ),
        addresses=(Address(dev="eth0", address=ip_interface(f"10.244.{n}.{i}/24")),),
        routes=(
            Route(dst=ip_network("0.0.0.0/0"), via=ip_address(f"10.244.{n}.1"), dev="eth0"),
            Route(dst=ip_network("10.244.0.0/16"), via=ip_address(f"10.244.{n}.1"), dev="eth0"),
        ),
        pod=PodSandbox(
            namespace="default",
            name=name,
            uid="u",
            node=f"node{n}",
            hostname=name,
            addresses=(ip_address(f"10.244.{n}.{i}"),),
            files=(),
            processes=(Process(container=container, program=Program(argv=("x",)), env={}),),
        ),
    )
