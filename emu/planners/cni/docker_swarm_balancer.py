"""The load balancer's endpoint that an overlay network has on each of its hosts, for services with
`endpoint_mode: vip`: a namespace with an address of the network, the services' virtual addresses beside it, and IPVS.

A container asks for the virtual address, its own host's balancer answers ARP, for vxlan0 lets no such request through.
mangle INPUT marks the packet for its service, IPVS gives it a task, wherever that is, and POSTROUTING the balancer's
own address, so that the answer comes back here.

Source: moby/moby daemon/libnetwork/service_linux.go (addLBBackend, configureFWMark), network.go
(createLoadBalancerSandbox), osl/namespace_linux.go (ApplyOSTweaks), service.go (marks from 256)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import NamedTuple

from emu.addressing import IPAddress
from emu.api.published import Port
from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster.model import Backend, Cluster, Frontend
from emu.memo import Memo
from emu.netfilter.model import Match, Rule
from emu.plan.ipvs import RealServer, Taken, VirtualService
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Address, Hook, NetnsKind, NetnsPlan, RulesetPart, Sysctl
from emu.planners.cni import docker_rules
from emu.planners.underlay import ipv6_off

VIP = "vip"
FIRST_MARK = 256
_SYSCTLS = (
    # A container's namespace has what its host had when it was made, and dockerd lets that forward.
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.vs.conntrack", "1"),
    ("net.ipv4.vs.conn_reuse_mode", "0"),
    ("net.ipv4.vs.expire_nodest_conn", "1"),
    ("net.ipv4.vs.expire_quiescent_template", "1"),
)


class Balancer(NamedTuple):
    """Of one host."""

    netns: str
    network: IPv4Network
    address: IPv4Address
    dev: str


class Service(NamedTuple):
    """`members`: the addresses of all its tasks; `tasks`: those that connections are sent to, with their weights: none
    for one that is to end. `ports`: of the network in which it is entered by its ports too."""

    namespace: str
    name: str
    vip: IPv4Address
    mark: int
    tasks: tuple[tuple[IPv4Address, int], ...]
    members: tuple[IPv4Address, ...]
    ports: tuple[Port, ...] = ()


def network(pods: IPv4Network, services: IPv4Network) -> IPv4Network:
    """The smallest that holds both ranges."""
    whole = pods
    while not services.subnet_of(whole) and whole.prefixlen:
        whole = whole.supernet()
    return whole


def address_of(whole: IPv4Network, node: int) -> IPv4Address:
    """The last of the network, the first Node's behind the others'."""
    return whole[-1 - node]


def check(topology: Topology) -> None:
    pods, services = IPv4Network(topology.ranges.pods[0]), IPv4Network(topology.ranges.services[0])
    whole, count = network(pods, services), len(topology.nodes)
    if pods[0] != whole[0]:
        what = f"is {services}, must stand behind ranges.pods {pods} in one network"
        raise Wrong(what, "ranges", "services", 0, hint="with endpoint_mode vip that network holds both")
    for field, each in (("pods", pods), ("services", services)):
        taken = next((a for n in range(1, count + 1) if (a := address_of(whole, n)) in each), None)
        if taken:
            what = f"is {each}, and {taken} is that of a Node's load balancer: the last {count} of {whole} are"
            raise Wrong(what, "ranges", field, 0, hint="give a smaller range, so that the network has a rest")


def services(cluster: Cluster) -> tuple[Service, ...]:
    """Those that have a virtual address, and a task: without one there is nothing of it."""
    return tuple(each for each in every(cluster) if each.tasks)


def every(cluster: Cluster) -> Iterator[Service]:
    """Those that have a virtual address."""
    there = {pod.addresses[0] for pod in cluster.pods}
    base = IPv4Network(cluster.topology.ranges.services[0])[0]
    frontends: dict[tuple[str, str], list[Frontend]] = {}
    for frontend in cluster.frontends:
        frontends.setdefault((frontend.namespace, frontend.service), []).append(frontend)
    for (namespace, name), found in frontends.items():
        vip = found[0].cluster_ip
        assert isinstance(vip, IPv4Address)
        backends = {each.address: each for frontend in found for each in frontend.backends if each.address in there}
        members = tuple(IPv4Address(address) for address in sorted(backends, key=int))
        yield Service(namespace, name, vip, FIRST_MARK + int(vip) - int(base), tuple(_tasks(backends)), members)


def _tasks(backends: Mapping[IPAddress, Backend]) -> Iterator[tuple[IPv4Address, int]]:
    """One that is to end keeps its connections and gets no new ones (rmLBBackend)."""
    for address in sorted(backends, key=int):
        if backends[address].ready or backends[address].terminating:
            yield IPv4Address(address), int(backends[address].ready)


def plan(cluster: Cluster, balancer: Balancer, found: tuple[Service, ...]) -> Iterator[Fragment]:
    key = (cluster.name, balancer.netns)
    yield _endpoint(key, balancer, found)
    yield Rules(balancer.netns, _rules(key, balancer, found))


def _make_endpoint(balancer: Balancer, found: tuple[Service, ...]) -> NetnsPlan:
    return NetnsPlan(
        name=balancer.netns,
        kind=NetnsKind.NETWORK,
        owner=balancer.netns,
        addresses=tuple(Address(dev=balancer.dev, address=ip_interface(f"{each.vip}/32")) for each in found),
        sysctls=(*ipv6_off((4,)), *(Sysctl(key=key, value=value) for key, value in _SYSCTLS)),
        virtual_services=tuple(VirtualService(taken=Taken(mark=each.mark)) for each in found),
        real_servers=tuple(
            RealServer(taken=Taken(mark=each.mark), address=address, weight=weight)
            for each in found
            for address, weight in each.tasks
        ),
    )


def _make_rules(balancer: Balancer, found: tuple[Service, ...]) -> RulesetPart:
    by_port = (
        Hook(
            table="mangle", chain="PREROUTING", rule=_mark(each, Match("", "-p", name), Match(name, "--dport", number))
        )
        for each in found
        for name, number in ((port.protocol.lower(), str(port.number)) for port in each.ports)
    )
    by_address = (
        Hook(table="mangle", chain="INPUT", rule=_mark(each, Match("", "-d", f"{each.vip}/32"))) for each in found
    )
    balanced = (Match("", "-d", str(balancer.network)), Match("ipvs", "--ipvs"))
    own = Rule(balanced, "SNAT", f"--to-source {balancer.address}")
    snat = (Hook(table="nat", chain="POSTROUTING", rule=own),) if found else ()
    return RulesetPart(owner=docker_rules.OWNER, family=4, hooks=(*by_port, *by_address, *snat))


def _mark(service: Service, *matches: Match) -> Rule:
    return Rule(matches, "MARK", f"--set-xmark {service.mark:#x}/0xffffffff")


_endpoint: Memo[NetnsPlan] = Memo(_make_endpoint)
_rules: Memo[RulesetPart] = Memo(_make_rules)
