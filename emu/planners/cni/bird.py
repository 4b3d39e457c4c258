"""BIRD on every Node: the daemon, its sessions, and the routes it will bring.

Full mesh: every Node has a session with every other. With route reflectors every Node has one with each reflector,
and these pass on what they hear; next hops stay what they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from emu import names
from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster.model import Cluster, IPAddress, IPInterface, IPNetwork, Node
from emu.memo import Memo
from emu.plan.model import Daemon, Expected, File, NetnsKind, NetnsPlan, Route, Sign
from emu.planners import underlay
from emu.planners.cni import bird_conf, calico_blocks
from emu.planners.cni.bird_conf import Peer, Speaker, Way

NAME = "bird"
CONFIG = "/run/bird/bird.conf"
REFLECTORS = "route_reflectors"  # option of the CNI mode: names of Nodes
MOST_MESHED = 50  # Nodes; 1225 sessions
WITHIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcer:
    """A Node as the others see it in one family."""

    node: str
    address: IPAddress
    networks: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """A device that IPv4 routes lead through; with `cross_subnet` only those to Nodes of another Node network."""

    device: str
    cross_subnet: bool

    def way(self, own: IPInterface, peer: IPAddress) -> Way:
        near = self.cross_subnet and peer in own.network
        return Way(address=peer, dev=names.UPLINK if near else self.device, onlink=not near)


def plan(cluster: Cluster, tunnel: Tunnel | None = None) -> Iterator[NetnsPlan]:
    reflectors = _reflectors(cluster)
    announced = calico_blocks.announced(cluster)
    gateways = underlay.gateways(cluster)
    announcers = tuple(
        Announcer(node=node.name, address=each.ip, networks=calico_blocks.of_family(announced[node.name], each.version))
        for node in cluster.nodes
        for each in node.addresses
    )
    for node in cluster.nodes:
        ways = tuple((each, gateways[each.network]) for each in node.addresses)
        peers = tuple(_peers(cluster, node, reflectors))
        tunnelled = tuple(_tunnelled(cluster, node, tunnel)) if tunnel else ()
        yield _daemon((cluster.name, node.name), node, cluster.pod_ranges, peers, tunnelled)
        yield _expected((cluster.name, node.name), node.name, node.blocks, ways, announcers, tunnelled)


def _tunnelled(cluster: Cluster, own: Node, tunnel: Tunnel) -> Iterator[Way]:
    here = next(address for address in own.addresses if address.version == 4)
    for node in cluster.nodes:
        for address in node.addresses:
            if node.name != own.name and address.version == 4:
                yield tunnel.way(here, address.ip)


def check(topology: Topology) -> None:
    """Raises Wrong for reflectors that are no Nodes, and for a mesh of too many."""
    asked = topology.cni.options.get(REFLECTORS, ())
    known = [node.name for node in topology.nodes]
    if not isinstance(asked, list | tuple) or any(name not in known for name in asked):
        raise Wrong(f"is {asked}, must be a list of nodes", "cni", "options", REFLECTORS)
    if not asked and len(known) > MOST_MESHED:
        what = f"has {len(known)} nodes: too many for a full mesh of BGP sessions, which is for {MOST_MESHED}"
        raise Wrong(what, "nodes", hint=f"cni.options: {{{REFLECTORS}: [{', '.join(known[:2])}]}}")


def _reflectors(cluster: Cluster) -> tuple[str, ...]:
    asked: Any = cluster.topology.cni.options.get(REFLECTORS, ())
    return tuple(asked)


def _peers(cluster: Cluster, own: Node, reflectors: tuple[str, ...]) -> Iterator[Peer]:
    for node in cluster.nodes:
        if node.name == own.name or (reflectors and not {node.name, own.name} & {*reflectors}):
            continue
        client = own.name in reflectors and node.name not in reflectors
        for address in node.addresses:
            yield Peer(node=node.name, address=address.ip, client=client, meshed=not reflectors)


def _make_daemon(
    node: Node, pools: tuple[IPNetwork, ...], peers: tuple[Peer, ...], tunnelled: tuple[Way, ...]
) -> NetnsPlan:
    addresses = tuple(address.ip for address in node.addresses)
    speaker = Speaker(
        node=node.name,
        router_id=_router_id(node, addresses),
        addresses=addresses,
        blocks=node.blocks,
        pools=pools,
        peers=peers,
        ways=tunnelled,
    )
    daemon = Daemon(
        name=NAME,
        argv=("bird", "-f", "-c", CONFIG),
        package="bird2",
        files=(File(path=CONFIG, text=bird_conf.text(speaker)),),
        reload=("birdc", "configure"),
        status=("birdc", "show", "protocols"),
        signs=tuple(_sign(peer) for peer in peers),
    )
    return NetnsPlan(name=node.name, kind=NetnsKind.NODE, owner=node.name, daemons=(daemon,))


def _router_id(node: Node, addresses: tuple[IPAddress, ...]) -> IPv4Address:
    """The Node's IPv4 address; where it has none any number of 32 bits that no other has."""
    return next((each for each in addresses if isinstance(each, IPv4Address)), IPv4Address(node.index))


def _sign(peer: Peer) -> Sign:
    what = f"established BGP session with {peer.node} ({peer.protocol})"
    return Sign(what=what, pattern=rf"^{peer.protocol}\s.*\sEstablished\b")


Ways = tuple[tuple[IPInterface, IPAddress], ...]  # a Node's own address, the gateway of its Node network


def _make_expected(
    node: str,
    blocks: tuple[IPNetwork, ...],
    ways: Ways,
    announcers: tuple[Announcer, ...],
    tunnelled: tuple[Way, ...],
) -> NetnsPlan:
    by_tunnel = {way.address: way for way in tunnelled}
    own = [Route(dst=block, type="blackhole", protocol=NAME) for block in blocks]
    others = (
        _learned(network, by_tunnel.get(each.address), _next_hop(each.address, ways))
        for each in announcers
        if each.node != node
        for network in each.networks
    )
    routes = tuple(Expected(route=route, by=NAME, within_s=WITHIN_S) for route in (*own, *others))
    return NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, expected=routes)


def _learned(network: IPNetwork, way: Way | None, next_hop: IPAddress) -> Route:
    if way is None:
        return Route(dst=network, dev=names.UPLINK, via=next_hop, protocol=NAME)
    return Route(dst=network, dev=way.dev, via=way.address, onlink=way.onlink, protocol=NAME)


def _next_hop(address: IPAddress, ways: Ways) -> IPAddress:
    """The Node itself, or across a router the gateway, by which BIRD finds the Node's address reached."""
    own, gateway = next((own, gateway) for own, gateway in ways if own.version == address.version)
    return address if address in own.network else gateway


_daemon: Memo[NetnsPlan] = Memo(_make_daemon)
_expected: Memo[NetnsPlan] = Memo(_make_expected)
