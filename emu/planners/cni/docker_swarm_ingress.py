"""The ingress network and Swarm's routing mesh: every host's published port leads to a task of the service, wherever.

A packet for HOST:PUBLISHED is translated by the host to its own `ingress_sbox`, a namespace on docker_gwbridge and in
the ingress network, at 172.18.0.2 on every host. There mangle PREROUTING marks it for its service by the port, IPVS
gives it a task, and POSTROUTING the sandbox's own address, so that the answer comes back this way; the asker's is lost.
In the task's namespace, which has a link to the ingress network, PUBLISHED becomes TARGET (REDIRECT); by that link the
task is sent nothing else, and sends nothing else.

Source: moby/moby daemon/libnetwork/service_linux.go (initIngressConfiguration, generateIngressRules, addRedirectRules),
network.go (createLoadBalancerSandbox), endpoint.go (Less: the order of a container's links);
integration/network/bridge/iptablesdoc/generated/swarm-portmap.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import NamedTuple

from emu import names
from emu.api.published import Port
from emu.api.wrong import Wrong, shown
from emu.cluster.model import Cluster, Pod
from emu.memo import Memo
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Hook, NetnsKind, NetnsPlan, RulesetPart, Sysctl
from emu.planners.cni import docker_bridge, docker_rules, docker_swarm_balancer, docker_swarm_network
from emu.planners.cni.docker_bridge import Network, Sandbox
from emu.planners.cni.docker_swarm_balancer import Balancer, Service
from emu.planners.cni.docker_swarm_network import ETH0, Member, Overlay

CHAIN, OWNER = "DOCKER-INGRESS", "docker-ingress"
VNI, MTU = 4096, 1450
RANGE = "10.0.0.0/24"
ETH1 = "eth1"
_ANSWERS = Match("conntrack", "--ctstate", "RELATED,ESTABLISHED")


def range_of(text: object) -> IPv4Network:
    """Of the option `ingress`. Raises Wrong."""
    try:
        return IPv4Network(str(text))
    except (AddressValueError, NetmaskValueError, ValueError):
        raise Wrong(f"is {shown(text)}, must be a range as {RANGE}", "cni", "options", "ingress") from None


def check(own: IPv4Network, network: IPv4Network, others: Mapping[str, IPv4Network]) -> None:
    """`own`: the ingress network's range. In it everybody has the number that it has in `network`."""
    at, hint = ("cni", "options", "ingress"), "the ingress network has an address for each that the other network has"
    if own.prefixlen > network.prefixlen:
        raise Wrong(f"is {own}, must be as large as {network}", *at, hint=hint)
    for name, each in {**others, "the network": network}.items():
        if own.overlaps(each):
            raise Wrong(f"is {own}, which overlaps {name}'s {each}", *at, hint="ingress: 10.255.0.0/16, as of old")


class Mesh(NamedTuple):
    """`network`: the one that the services are of; `gateway`: docker_gwbridge."""

    overlay: Overlay
    network: Overlay
    gateway: Network
    services: tuple[Service, ...]

    @property
    def sandbox(self) -> IPv4Address:
        """On docker_gwbridge, where it is the first."""
        return self.gateway.range[2]

    @property
    def open(self) -> tuple[Port, ...]:
        """Those that lead to a task."""
        return tuple(port for each in self.services if each.tasks for port in each.ports)

    def address(self, in_network: IPv4Address) -> IPv4Address:
        return self.overlay.range[self.network.number(in_network)]

    def ports(self, pod: Pod) -> tuple[Port, ...]:
        """Those that lead to it, of all services that it is a task of."""
        own = self.address(pod.addresses[0])  # type: ignore[arg-type]
        return tuple(port for each in self.services if own in each.members for port in each.ports)


def mesh(cluster: Cluster, range_: IPv4Network, network: Overlay, gateway: Network) -> Mesh:
    overlay = Overlay(range_, VNI, MTU, names.swarm_id(cluster.seed, "ingress"), ("ingress",))
    bare = Mesh(overlay, network, gateway, ())
    ports = {(each.namespace, each.service): each.ports for each in cluster.published}
    marks = IPv4Network(cluster.topology.ranges.services[0]).num_addresses
    published = (
        each._replace(
            vip=bare.address(each.vip),
            mark=each.mark + marks,
            tasks=tuple((bare.address(address), weight) for address, weight in each.tasks),
            members=tuple(map(bare.address, each.members)),
            ports=ports[each.namespace, each.name],
        )
        for each in docker_swarm_balancer.every(cluster)
        if (each.namespace, each.name) in ports
    )
    return bare._replace(services=tuple(published))


def plan(cluster: Cluster, found: Mesh) -> Iterator[Fragment]:
    tasks = {pod.key: _task(found, pod) for pod in cluster.pods if found.ports(pod)}
    sandboxes = tuple(_sandbox(found, node.name, node.index) for node in cluster.nodes)
    vteps = {node.name: node.addresses[0].ip for node in cluster.nodes}
    members, served = (*tasks.values(), *sandboxes), tuple(each for each in found.services if each.tasks)
    for each in sandboxes:
        key = (cluster.name, each.node, "ingress")
        yield docker_swarm_network.netns(key, cluster.seed, each.node, found.overlay, members, vteps)
        yield docker_swarm_network.joined((*key, ETH0), cluster.seed, each, found.overlay)
        outside = Sandbox(each.netns, each.kind, each.owner, each.node, ETH1, found.sandbox)
        yield from _gateway((*key, ETH1), cluster.seed, found.gateway, outside)
        balancer = Balancer(each.netns, found.overlay.range, each.address, ETH0)
        yield from docker_swarm_balancer.plan(cluster, balancer, served)
        yield from _host(key, each.node, found)
    for pod in (pod for pod in cluster.pods if pod.key in tasks):
        task, own = tasks[pod.key], (cluster.name, pod.namespace, pod.name, "ingress")
        yield docker_swarm_network.joined(own, cluster.seed, task, found.overlay)
        yield Rules(task.netns, _redirecting(own, task.address, found.ports(pod)))


def _task(found: Mesh, pod: Pod) -> Member:
    """Its links are in the order of their networks' names, with docker_gwbridge as the last."""
    netns, address = names.pod_netns(pod.namespace, pod.name), pod.addresses[0]
    assert isinstance(address, IPv4Address)
    return Member(pod.key, netns, pod.node, found.address(address), ETH1)


def _sandbox(found: Mesh, node: str, index: int) -> Member:
    netns = names.ingress_netns(node)
    address = docker_swarm_balancer.address_of(found.network.range, index)
    return Member(netns, netns, node, found.address(address), ETH0, NetnsKind.NETWORK)


# ---- the host


def _host(key: tuple[str, ...], node: str, found: Mesh) -> Iterator[Fragment]:
    """What is left when the first service has published a port. Its rules stand before all of dockerd's others."""
    if found.open:
        yield _local_routes(key, node, found.gateway.bridge)
        yield Rules(node, _leading(key, found.gateway.bridge, found.sandbox, found.open))


def _make_local_routes(node: str, bridge: str) -> NetnsPlan:
    sysctl = Sysctl(key=f"net.ipv4.conf.{bridge}.route_localnet", value="1")
    return NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, sysctls=(sysctl,))


def _make_leading(bridge: str, sandbox: IPv4Address, ports: tuple[Port, ...]) -> RulesetPart:
    """Each port's rules are put before the others'."""
    last, newest = Rule((), "RETURN"), ports[::-1]
    local = Match("addrtype", "--dst-type", "LOCAL")
    own = Rule((Match("", "-o", bridge), Match("addrtype", "--src-type", "LOCAL")), "MASQUERADE")
    jumps = (Hook(table="nat", chain=each, rule=Rule((local,), CHAIN)) for each in ("PREROUTING", "OUTPUT"))
    translated = (
        _to(port, "--dport", port.number, "DNAT", f"--to-destination {sandbox}:{port.number}") for port in newest
    )
    passed = (
        rule
        for port in newest
        for rule in (
            _to(port, "--dport", port.number, "ACCEPT"),
            _to(port, "--sport", port.number, "ACCEPT", matches=(_ANSWERS,)),
        )
    )
    return RulesetPart(
        owner=OWNER,
        family=4,
        tables=(
            Table(4, "nat", (Chain(CHAIN, (*translated, last)),)),
            Table(4, "filter", (Chain(CHAIN, (*passed, last)),)),
        ),
        hooks=(*jumps, Hook(table="nat", chain="POSTROUTING", rule=own)),
    )


def _to(
    port: Port,
    option: str,
    number: int,
    target: str,
    options: str = "",
    *,
    matches: tuple[Match, ...] = (),
    address: str = "",
) -> Rule:
    protocol = port.protocol.lower()
    end = (Match("", "-d" if option == "--dport" else "-s", address),) if address else ()
    return Rule((*end, Match("", "-p", protocol), Match(protocol, option, str(number)), *matches), target, options)


# ---- a task


def _make_redirecting(address: IPv4Address, ports: tuple[Port, ...]) -> RulesetPart:
    own = f"{address}/32"
    changed = (
        _to(port, "--dport", port.number, "REDIRECT", f"--to-ports {port.target}", address=own) for port in ports
    )
    coming, going = Match("conntrack", "--ctstate", "NEW,ESTABLISHED"), Match("conntrack", "--ctstate", "ESTABLISHED")
    newest = ports[::-1]
    accepted = (_to(port, "--dport", port.target, "ACCEPT", matches=(coming,), address=own) for port in newest)
    answered = (_to(port, "--sport", port.target, "ACCEPT", matches=(going,), address=own) for port in newest)
    nothing_else = ("sctp", "udp", "tcp")
    dropped = [
        [Rule((Match("", end, own), Match("", "-p", each)), "DROP") for each in nothing_else] for end in ("-d", "-s")
    ]
    return RulesetPart(
        owner=docker_rules.OWNER,
        family=4,
        hooks=(
            *(Hook(table="nat", chain="PREROUTING", rule=each) for each in changed),
            *(Hook(table="filter", chain="INPUT", rule=each) for each in (*accepted, *dropped[0])),
            *(Hook(table="filter", chain="OUTPUT", rule=each) for each in (*answered, *dropped[1])),
        ),
    )


_local_routes: Memo[NetnsPlan] = Memo(_make_local_routes)
_leading: Memo[RulesetPart] = Memo(_make_leading)
_redirecting: Memo[RulesetPart] = Memo(_make_redirecting, size=1 << 15)
_gateway: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(docker_bridge.sandbox_link)
