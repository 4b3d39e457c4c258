"""NAME
    cilium: Services at the socket, without kube-proxy (Cilium's kubeProxyReplacement)

PACKET PATH
    to a ClusterIP    connect() or sendmsg(): the address becomes a backend's before there is a packet. What leaves the
                      Pod has the backend's address, the answer too, and nothing is translated on the way.
                      recvmsg() and getpeername() show the program the Service's address again
    without backends  connect() fails with EHOSTUNREACH ("No route to host"): no packet
    to itself         a Pod that is its own backend connects to itself, over lo

KERNEL OBJECTS
    programs  cil_sock4_connect, …_sendmsg, …_recvmsg, …_getpeername, at the socket calls of a Node and its Pods
    maps      cilium_lb4_services_v2: address, port, protocol, slot → in slot 0 how many backends there are, in the
              others the id of one; cilium_lb4_backends_v3: id → address and port. Written by the programs:
              cilium_lb4_reverse_sk (what a socket was told), cilium_lb4_affinity
    no chains, no rules

LIMITS
    The programs are attached to the cgroup the testbed runs in, by a link, and let all sockets but the lab's pass.
    There is one set for all Nodes: the keys of the maps begin with the Node's number, which is not shown.
    A socket that is connected to a backend stays connected when that leaves (Cilium ends such UDP sockets).
    ping of a Service's address is no socket call that is translated: it leaves the Pod as it is, and the cluster.

SOURCES
    cilium/cilium bpf/bpf_sock.c, bpf/lib/lb.h, pkg/loadbalancer/maps
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster.model import Backend, Cluster, Frontend
from emu.memo import Memo
from emu.plan.ebpf import MapEntry, SocketProgram
from emu.plan.merge import Fragment
from emu.plan.model import NetnsKind, NetnsPlan
from emu.planners import choices
from emu.planners.cni.cilium_identity import drawn
from emu.planners.proxy.endpoints import categorize, uses_local

NAME = "cilium"
SERVICES, BACKENDS = "cilium_lb4_services_v2", "cilium_lb4_backends_v3"
FILE = "cilium_sock"
_MOST, _MOST_SERVICES = (1 << 24) - 1, (1 << 16) - 1  # numbers of backends, of Services
PROGRAMS = tuple(
    SocketProgram(hook=f"{call}4", file=FILE, name=f"cil_sock4_{call}")
    for call in ("connect", "sendmsg", "recvmsg", "getpeername")
)


def check(topology: Topology) -> None:
    choices.flag("proxy", NAME, topology.proxy.options)
    if topology.cni.mode != "cilium":
        raise Wrong("is cilium, which is a part of cni: cilium", "proxy", "mode", hint="proxy: iptables")


def plan(cluster: Cluster) -> Iterator[Fragment]:
    """Nodes have the same entries, unless a Service is for each Node's own backends."""
    frontends = tuple(sorted(_ipv4(cluster.frontends), key=lambda f: (str(f), f.protocol)))
    numbers = _numbers(cluster.name, frontends)
    local = any(uses_local(frontend) for frontend in frontends)
    for node in cluster.nodes:
        view = node.name if local else ""
        yield _node((cluster.name, node.name), node.name, _entries((cluster.name, view), frontends, numbers, view))


def _ipv4(frontends: Iterable[Frontend]) -> Iterator[Frontend]:
    return (each for each in frontends if each.cluster_ip.version == 4 and each.protocol in ("TCP", "UDP"))


_End = tuple[str, IPv4Address, int]  # protocol, address, port


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of backends, and of Services' ports, which each keeps while others come and go."""

    backends: Mapping[_End, int]
    indexes: Mapping[tuple[str, ...], int]


def _make_numbers(frontends: tuple[Frontend, ...]) -> Numbers:
    ends = {_end(each, backend) for each in frontends for backend in each.backends}
    texts: dict[tuple[str, ...], _End] = {(f"{end[1]}:{end[2]}/{end[0]}",): end for end in ends}
    return Numbers(
        {texts[text]: number for text, number in drawn(texts, 1, _MOST)},
        dict(drawn({(str(each), each.protocol) for each in frontends}, 1, _MOST_SERVICES)),
    )


_numbers: Memo[Numbers] = Memo(_make_numbers)


def _make_entries(frontends: tuple[Frontend, ...], numbers: Numbers, node: str) -> tuple[MapEntry, ...]:
    """As `node` has them; "": as all have."""
    services: list[MapEntry] = []
    ends: dict[_End, None] = {}
    for frontend in frontends:
        chosen = categorize(frontend, node)
        backends = [_end(frontend, each) for each in (chosen.local if frontend.internal_local else chosen.cluster)]
        ends |= dict.fromkeys(backends)
        ids = tuple(numbers.backends[end] for end in backends)
        key = (str(frontend), frontend.protocol, node if frontend.internal_local else "")
        index = numbers.indexes[str(frontend), frontend.protocol]
        services += _service(
            key, tuple(_addresses(frontend)), frontend.port, frontend.protocol, _slots(frontend, index, ids)
        )
    return (*services, *(_backend(str(end), numbers.backends[end], end) for end in ends))


_entries: Memo[tuple[MapEntry, ...]] = Memo(_make_entries)


def _make_node(node: str, maps: tuple[MapEntry, ...]) -> NetnsPlan:
    return NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, programs=PROGRAMS, maps=maps)


_node: Memo[NetnsPlan] = Memo(_make_node)


def _end(frontend: Frontend, backend: Backend) -> _End:
    assert isinstance(backend.address, IPv4Address)
    return (frontend.protocol, backend.address, backend.port)


def _addresses(frontend: Frontend) -> Iterator[IPv4Address]:
    for address in (frontend.cluster_ip, *frontend.external_ips, *frontend.load_balancer_ips):
        if isinstance(address, IPv4Address):
            yield address


_Slots = tuple[tuple[int, int, int], ...]


def _slots(frontend: Frontend, index: int, ids: tuple[int, ...]) -> _Slots:
    """Of slot 0, and of one for each backend. `index`: of the reverse NAT."""
    return ((frontend.affinity_s, len(ids), index), *((each, 0, index) for each in ids))


def _make_service(addresses: tuple[IPv4Address, ...], port: int, protocol: str, slots: _Slots) -> tuple[MapEntry, ...]:
    return tuple(
        MapEntry(map=SERVICES, key=(address, port, slot, protocol), value=value)
        for address in addresses
        for slot, value in enumerate(slots)
    )


_service: Memo[tuple[MapEntry, ...]] = Memo(_make_service, size=1 << 15)


def _make_backend(number: int, end: _End) -> MapEntry:
    protocol, address, port = end
    return MapEntry(map=BACKENDS, key=(number,), value=(address, port, protocol))


_backend: Memo[MapEntry] = Memo(_make_backend, size=1 << 16)
