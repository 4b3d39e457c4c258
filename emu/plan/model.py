"""The wanted kernel state, per network namespace, as values. Planners make it, `plan.diff` compares it,
`kernel.apply` brings it about, `kernel.read` reads the same shapes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from emu.addressing import IPAddress, IPInterface, IPNetwork
from emu.api.images import Program
from emu.api.objects import Container
from emu.netfilter.model import IpSet, Rule, Table
from emu.plan.attachment import Attachment
from emu.plan.dns import DnsZone
from emu.plan.ebpf import MapEntry, SocketProgram, TcProgram
from emu.plan.ipvs import RealServer, VirtualService
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort


class Role(StrEnum):
    """What a link is for. Capture points, hop labels and colours come from role and owner alone."""

    POD_ETH = "pod-eth"  # eth0 inside a Pod, and eth1 where it has two
    HOST_VETH = "host-veth"  # its other end, in the Node
    BRIDGE = "bridge"  # cni0
    TUNNEL = "tunnel"  # flannel.1
    HOST = "host"  # cilium_host: a Node's own door to its Pods
    UPLINK = "uplink"  # eth0 of a Node; a router's ports
    FABRIC = "fabric"  # a switch, and its ports
    LOOPBACK = "loopback"  # lo, which is no capture point


class NetnsKind(StrEnum):
    FABRIC = "fabric"  # the one that holds the switches: the sandbox's own
    ROUTER = "router"  # between the racks of a fabric; no Node
    NODE = "node"
    NETWORK = "network"  # of one overlay network on one Node, beside the Node's own; nothing runs in it
    POD = "pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """IFLA_VXLAN_*. `local` and `dev` as in `ip link add … type vxlan id … local … dev … dstport … nolearning`; without
    them the route of the outer packet chooses. `socket`: the netns the link was made in before it was moved, if it
    was; its UDP socket stays there, and so do the outer packets. With `proxy` it answers ARP itself, from its permanent
    neighbor entries, and forwards none. `external`: VNI and end are told packet by packet
    (IFLA_VXLAN_COLLECT_METADATA), and `vni` is 0."""

    vni: int
    local: IPAddress | None = None
    dev: str = ""
    port: int
    learning: bool = False
    proxy: bool = False
    misses: bool = False  # l2miss, l3miss: it tells who listens of what it has no entry for
    socket: str = ""
    external: bool = False


class IpipBy(StrEnum):
    """Who puts IPIP's outer header on and takes it off. A packet socket and the wire see no difference."""

    MODULE = "module"  # the kernel's ipip
    EBPF = "ebpf"  # our programs at tc, where the kernel lacks it; the link is then a TUN device


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipip:
    """`tunl0`: a tunnel to wherever the gateway of the route by it is. `local` (the outer source) and `dev` (the way
    out) the module takes from the routes; eBPF is told."""

    local: IPv4Address
    dev: str
    by: IpipBy = IpipBy.MODULE


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface. `kind` is the kernel's (`veth`, `bridge`, `vxlan`, `ipip`); `owner` is who it belongs to: a
    Pod's `namespace/name`, a Node's or a switch's name. For a veth, `peer` is (netns, ifname) of the other end; both
    ends stand in the plan, and the pair is made once."""

    name: str
    kind: str
    role: Role
    owner: str
    mtu: int = 1500
    mac: str = ""  # "": the kernel's choice
    master: str = ""  # the bridge it is a port of
    hairpin: bool = False  # of a bridge port
    qlen: int = 1000  # frames; the kernel's default for every kind of link used here
    up: bool = True
    noarp: bool = False  # nobody is asked for a MAC on it
    peer: tuple[str, str] | None = None
    vxlan: Vxlan | None = None
    ipip: Ipip | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`prefix_route` False: added so that the kernel makes no route to its network (`noprefixroute`). `connected`
    False: somebody has taken away the route that the kernel made, as ptp does."""

    dev: str
    address: IPInterface
    prefix_route: bool = True
    connected: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route, without those the kernel makes by itself for an address. `type` is unicast or blackhole."""

    dst: IPNetwork
    dev: str = ""
    via: IPAddress | None = None
    src: IPAddress | None = None
    scope: str = "global"  # global, link
    onlink: bool = False
    metric: int = 0
    mtu: int = 0  # 0: the device's
    table: int = 254  # main
    type: str = "unicast"
    protocol: str = "boot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A route that a daemon of the real system asks for and the kernel does not take. It is tried when the plan is
    applied, and that it fails is an expectation like any other. `error` is the kernel's, `why` says what is missing."""

    route: Route
    error: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A route that a daemon will bring, within so many seconds. It is predicted with and waited for, and that it is
    missing is told; but nobody else writes it."""

    route: Route
    by: str  # the daemon's name
    within_s: float = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """`ip rule`."""

    priority: int
    table: int
    src: IPNetwork | None = None
    dst: IPNetwork | None = None
    iif: str = ""
    fwmark: int = 0
    fwmask: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A permanent neighbor (ARP, ND) entry."""

    dev: str
    address: IPAddress
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbEntry:
    """A permanent forwarding entry of a VXLAN link: frames for `mac` go to the VTEP `dst`."""

    dev: str
    mac: str
    dst: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """`key` with dots; a dot of an interface's own name is a slash: `net.ipv4.conf.flannel/1.forwarding`."""

    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A rule for a built-in chain. Planners give hooks, never positions: `plan.merge` orders them by
    `plan.hooks.ORDER`."""

    table: str
    chain: str
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesetPart:
    """What one planner (`owner`, a name in `plan.hooks.ORDER`) puts into the tables of one family: its own chains
    (one `Table` per table, holding no built-in chain) and its hooks, in the order they should stand."""

    owner: str
    family: int
    tables: tuple[Table, ...] = ()
    hooks: tuple[Hook, ...] = ()
    policies: tuple[tuple[str, str, str], ...] = ()  # (table, built-in chain, policy), where it is not ACCEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a Pod, seen only inside it; of a Node's daemons; or one that is seen by what is run on a Node."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A container to keep running in a Pod."""

    container: Container
    program: Program
    env: Mapping[str, str]
    init: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """`pattern`, a regular expression, is found in a line of what a daemon says of itself when `what` is so."""

    what: str
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A program that runs on a Node as long as the Node is there, in the foreground. A Node with daemons is a machine
    of its own (mount, PID, UTS and IPC namespaces, `/run`, `/tmp` and `/var/log` empty at first), which its daemons
    share. One that ends by itself stays ended, for all to see, until the kernel is repaired."""

    name: str
    argv: tuple[str, ...]
    package: str = ""  # Debian's, which has the program
    files: tuple[File, ...] = ()  # in /run, /tmp, /var/log …
    reload: tuple[str, ...] = ()  # makes it read its files again; (): it is started again
    status: tuple[str, ...] = ()  # makes it say how it is
    signs: tuple[Sign, ...] = ()  # of being at work, in the output of `status`
    listens: tuple[tuple[str, int], ...] = ()  # (protocol, port) on all addresses of the Node, for all to use


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What programs that are not ours have made in a netns, as read from the kernel once they had: it is predicted
    with, and that something of it is missing is told. `tables`: their own chains, and their rules in the kernel's
    chains before any of ours; `appended`: those behind ours."""

    by: str
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    tables: tuple[Table, ...] = ()
    appended: tuple[Table, ...] = ()

    def values(self) -> Iterator[Link | Address | Route | PolicyRule | Neighbor | FdbEntry | Sysctl]:
        """All but the rules."""
        for values in (self.links, self.addresses, self.routes, self.rules, self.neighbors, self.fdb, self.sysctls):
            yield from values


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandbox:
    """What a Pod's namespace needs beside its network."""

    namespace: str
    name: str
    uid: str
    node: str
    hostname: str
    addresses: tuple[IPAddress, ...]
    files: tuple[File, ...]
    processes: tuple[Process, ...]  # init containers first, in order
    restart_policy: str = "Always"
    grace_period_s: int = 30
    resolver: str = ""  # an address in there at which its runtime answers for names, if it does


@dataclass(frozen=True, slots=True, kw_only=True)
class NetnsPlan:
    """One network namespace. `owner`: a Node's or router's name, a Pod's `namespace/name`, or "fabric"."""

    name: str
    kind: NetnsKind
    owner: str
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    refused: tuple[Refusal, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    sets: tuple[IpSet, ...] = ()  # what the tables' rules ask; there before them, gone after them
    programs: tuple[TcProgram | SocketProgram, ...] = ()
    maps: tuple[MapEntry, ...] = ()  # of the programs
    virtual_services: tuple[VirtualService, ...] = ()  # of IPVS
    real_servers: tuple[RealServer, ...] = ()  # behind them
    subnets: tuple[Subnet | SubnetPort | SubnetAddress, ...] = ()  # of a cloud, whose router this is
    tables: tuple[Table, ...] = ()  # merged rulesets, complete
    daemons: tuple[Daemon, ...] = ()
    files: tuple[File, ...] = ()  # of a Node: what the mode's programs leave in /etc, /run and /var/lib
    expected: tuple[Expected, ...] = ()  # beside `routes`: what the daemons will bring
    foreign: Foreign | None = None  # beside all the above: what CNI plugins have made
    attachment: Attachment | None = None  # of a Pod that they join
    pod: PodSandbox | None = None

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything, by netns name (`names.FABRIC_NETNS`, a Node's name, `names.pod_netns`)."""

    name: str
    seed: int
    netns: Mapping[str, NetnsPlan] = field(default_factory=dict)
    zone: DnsZone = field(default_factory=DnsZone)
    iptables: str = "nft"
    notes: tuple[str, ...] = ()  # what a user should know about this plan


@dataclass(frozen=True, slots=True, kw_only=True)
class NetnsChange:
    """What differs in one netns. `old` None: to be made; `new` None: to be removed.
    `plan.diff` fills the added and removed values; `tables` holds only tables that differ,
    as (old or None, new or None)."""

    name: str
    old: NetnsPlan | None
    new: NetnsPlan | None
    # Link, Address, Route, Refusal, PolicyRule, Neighbor, FdbEntry, Sysctl, IpSet, TcProgram,
    # SocketProgram, MapEntry, VirtualService, RealServer, Subnet, SubnetPort, SubnetAddress
    added: tuple[object, ...] = ()
    removed: tuple[object, ...] = ()
    tables: tuple[tuple[Table | None, Table | None], ...] = ()
    daemons: tuple[tuple[Daemon | None, Daemon | None], ...] = ()  # likewise
    pod_changed: bool = False  # its containers, files or environment differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    netns: tuple[NetnsChange, ...] = ()
    zone: DnsZone | None = None  # the new zone, if it differs

    def __bool__(self) -> bool:
        return bool(self.netns) or self.zone is not None
