"""The desired cluster with every choice made: what the planners read. Made by `cluster.resolve`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from emu import names
from emu.addressing import IPAddress, IPInterface, IPNetwork
from emu.api.images import Program
from emu.api.objects import Container, Objects
from emu.api.published import Port
from emu.api.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """A Node's interface on the Node network. `assigned`: what the network sends there beside its own addresses."""

    dev: str
    addresses: tuple[IPInterface, ...]
    assigned: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A Node. `index` counts from 1, in topology order; `pod_cidrs` has one range per family. `blocks` and
    `tunnel_addresses` (one per family with a tunnel) are those that Calico's IPAM has given it; `uplinks` those that
    AWS's has, eth0 first: elsewhere `every_uplink` is the one of which the addresses stand here."""

    name: str
    index: int
    addresses: tuple[IPInterface, ...]  # on eth0, preferred family first, with the prefix of the Node network
    pod_cidrs: tuple[IPNetwork, ...]
    switch: str
    labels: Mapping[str, str] = field(default_factory=dict)
    blocks: tuple[IPNetwork, ...] = ()
    tunnel_addresses: tuple[IPAddress, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    public_address: IPAddress | None = None  # by which the internet knows it

    @property
    def every_uplink(self) -> tuple[Uplink, ...]:
        return self.uplinks or (Uplink(dev=names.UPLINK, addresses=self.addresses),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterPort:
    """A router's interface on a switch, with its address of each family in that rack's Node network."""

    dev: str
    switch: str
    addresses: tuple[IPInterface, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A router between racks. `routes`: to the Node networks it has no port in, and by which address."""

    name: str
    ports: tuple[RouterPort, ...]
    routes: tuple[tuple[IPNetwork, IPAddress], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPlan:
    """A container with its final environment (Service variables, downward fields and `env` merged)."""

    container: Container
    program: Program
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod that is placed and has its addresses. `addresses` are bare; the CNI mode adds the prefix."""

    namespace: str
    name: str
    uid: str
    node: str
    addresses: tuple[IPAddress, ...]
    labels: Mapping[str, str]
    hostname: str
    containers: tuple[ContainerPlan, ...]
    init_containers: tuple[ContainerPlan, ...] = ()
    restart_policy: str = "Always"
    grace_period_s: int = 30
    resolv_conf: str = ""  # file text
    hosts: str = ""  # file text
    service_env: Mapping[str, str] = field(default_factory=dict)  # Service variables as of its start; part of each env
    asked: tuple[IPAddress, ...] = ()  # the addresses it asks for

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One endpoint behind a Frontend. `node` is "" when unknown (never local then)."""

    address: IPAddress
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def usable(backends: Iterable[Backend]) -> tuple[Backend, ...]:
    """Those a proxy sends to: the ready ones, or if there is none those that still serve while they terminate. In order
    of `str(backend)`, one per address and port. Source: kubernetes pkg/proxy/topology.go."""
    distinct = {str(backend): backend for backend in backends if backend.ready or backend.terminating}
    ordered = [distinct[text] for text in sorted(distinct)]
    ready = tuple(backend for backend in ordered if backend.ready)
    return ready or tuple(backend for backend in ordered if backend.serving and backend.terminating)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """One Service port of one family, with all the addresses it is reached at and its backends.

    A Service type becomes frontends once (`cluster.services`); every proxy mode renders frontends and never looks
    at a Service's type. kube-proxy calls this a service port; its name is `str(frontend)`:
    `namespace/service:portname`, without the colon when the port has no name.
    """

    namespace: str
    service: str
    port_name: str
    protocol: str  # TCP, UDP, SCTP
    port: int
    cluster_ip: IPAddress
    backends: tuple[Backend, ...] = ()
    node_port: int = 0  # 0: none
    external_ips: tuple[IPAddress, ...] = ()
    load_balancer_ips: tuple[IPAddress, ...] = ()  # ipMode VIP only
    source_ranges: tuple[IPNetwork, ...] = ()
    health_check_node_port: int = 0
    internal_local: bool = False  # internalTrafficPolicy: Local
    external_local: bool = False  # externalTrafficPolicy: Local
    affinity_s: int = 0  # 0: no ClientIP affinity

    def __str__(self) -> str:
        base = f"{self.namespace}/{self.service}"
        return f"{base}:{self.port_name}" if self.port_name else base


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A Service, and the ports of every Node that lead to it."""

    namespace: str
    service: str
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Everything the planners need. `objects` is the resolved set (with status), as `emu get` shows it."""

    name: str
    seed: int
    topology: Topology
    families: tuple[int, ...]  # (4,), (6,), (4, 6), (6, 4)
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    frontends: tuple[Frontend, ...]
    pod_ranges: tuple[IPNetwork, ...]
    service_ranges: tuple[IPNetwork, ...]
    node_ranges: tuple[IPNetwork, ...]
    objects: Objects
    routers: tuple[Router, ...] = ()
    warnings: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()  # by the Services that publish ports
    joining: tuple[Pod, ...] = ()  # placed, and to be given their addresses by who joins them to the network
    ipip_module: bool = True  # of this machine's kernel; without it tunl0 is realised by eBPF

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def pods_on(self, node: str) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if pod.node == node)
