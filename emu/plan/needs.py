"""What a plan takes of the things a machine has a limited number of, when all of it is in use. Pure arithmetic: what is
granted is `kernel.limits`' to know."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emu.plan.ebpf import SocketProgram, TcProgram
from emu.plan.model import IPAddress, IpipBy, IPNetwork, NetnsKind, NetnsPlan, Plan, PodSandbox, Role

FILES_FOR_THE_LAB, FILES_FOR_A_NETNS = 96, 3  # itself, a socket to change or read it, its first process
FILES_FOR_PROGRAMS = 16  # a loaded file's maps, programs and types: as many as the largest has (emu/kernel/bpf)
_LABS_PROCESSES = 16  # the lab's own, its servers, and programs on their way
_LABS_NAMESPACES = 3  # the sandbox, one to look into, one to try things in
_TIME_WAIT_S = 120  # net.netfilter.nf_conntrack_tcp_timeout_time_wait
_FLOWS_OF_A_USER = 64  # a Node's connections that nobody planned
_NO_NEIGHBORS = frozenset({"tun", "ipip"})  # links without link-layer addresses


@dataclass(frozen=True, slots=True)
class Need:
    """`amount` of the limit called `limit`; `what` needs it, as a sentence's subject."""

    limit: str
    amount: int
    what: str


def needs(plan: Plan) -> tuple[Need, ...]:
    kinds = Counter(space.kind for space in plan.netns.values())
    nodes, pods, spaces = kinds[NetnsKind.NODE], kinds[NetnsKind.POD], len(plan.netns)
    everything = f"{_counted(nodes, 'Node')} and {_counted(pods, 'Pod')}"
    places = nodes + pods + kinds[NetnsKind.ROUTER]
    machines = sum(_has_processes(space) for space in plan.netns.values()) + _LABS_NAMESPACES
    return (
        Need("files", _files(plan), _counted(spaces, "network namespace")),
        *(Need(f"neighbors-ipv{version}", count, everything) for version, count in sorted(neighbors(plan).items())),
        Need("conntrack", *_flows(plan)),
        Need("processes", _processes(plan), everything),
        Need("terminals", places, f"a shell in each of {places} Nodes and Pods"),
        Need("net-namespaces", spaces + _LABS_NAMESPACES, everything),
        *(Need("bridge-ports", count, f"what is plugged into {name}") for name, count in _fullest(plan)),
        *(Need(f"{kind}-namespaces", machines, everything) for kind in ("mnt", "pid", "uts")),
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _files(plan: Plan) -> int:
    """eBPF programs whose maps are kept are loaded for each Node that has some, those at sockets once; a TUN device
    lives as long as its descriptor."""
    count = FILES_FOR_THE_LAB + len(plan.netns) * FILES_FOR_A_NETNS
    of_lab = set()
    for space in plan.netns.values():
        held = {each.file for each in space.programs if isinstance(each, TcProgram) and not each.config}
        of_lab |= {each.file for each in space.programs if isinstance(each, SocketProgram)}
        tuns = sum(link.ipip is not None and link.ipip.by is IpipBy.EBPF for link in space.links)
        count += len(held) * FILES_FOR_PROGRAMS + tuns
    return count + len(of_lab) * FILES_FOR_PROGRAMS


def _fullest(plan: Plan) -> Iterator[tuple[str, int]]:
    """The bridge with most ports, if there is one."""
    ports = Counter(
        link.master if space.kind is NetnsKind.FABRIC else f"{space.name}'s {link.master}"
        for space in plan.netns.values()
        for link in space.links
        if link.master
    )
    yield from ports.most_common(1)


# -- neighbors ----------------------------------------------------------------------------------------------------


def neighbors(plan: Plan) -> Mapping[int, int]:
    """ARP and ND entries that the kernel makes by itself when every Pod talks, to its own Node's Pods but by way of
    the Node, and every Node to every other, by IP family. Permanent ones are not limited (`exempt_from_gc`, Linux
    net/core/neighbour.c). Two Pods of one bridge that talk have one more each."""
    uplinks = _uplinks(plan)
    bare = _bare(plan, uplinks)
    found: Counter[int] = Counter()
    for space in plan.netns.values():
        for version, count in (_of_space(space, plan, uplinks) + _answered_for(space, bare)).items():
            found[version] += count
    return found


def _uplinks(plan: Plan) -> Counter[object]:
    """How many hosts each subnet of the Node network has."""
    return Counter(network for space in plan.netns.values() for _, network in _subnets(space))


def _subnets(space: NetnsPlan) -> Iterator[tuple[str, object]]:
    roles = {link.name: link.role for link in space.links}
    for each in space.addresses:
        if roles.get(each.dev) is Role.UPLINK and each.prefix_route and each.address.network.num_addresses > 1:
            yield each.dev, each.address.network


def _bare(plan: Plan, subnets: Iterable[Any]) -> Mapping[object, frozenset[IPNetwork]]:
    """By subnet of the Node network, the Pods that have an address of it and are no hosts on it: the network answers
    for them, as a VPC does."""
    pods = [each.address for space in plan.netns.values() if space.pod for each in space.addresses]
    single = [address for address in pods if address.network.num_addresses == 1]
    return {each: frozenset(address.network for address in single if address.ip in each) for each in subnets}


def _answered_for(space: NetnsPlan, bare: Mapping[object, frozenset[IPNetwork]]) -> Counter[int]:
    """Those that are not its own, and the gateway, on each uplink."""
    own, counted = {route.dst for route in space.routes}, Counter[int]()
    for _, network in _subnets(space):
        if found := bare[network]:
            counted[network.version] += len(found - own) + 1  # type: ignore[attr-defined]
    for each in space.addresses:
        counted[each.address.version] += not each.prefix_route
    return counted


def _of_space(space: NetnsPlan, plan: Plan, uplinks: Counter[object]) -> Counter[int]:
    counted = Counter({4: 0})
    for _, network in _subnets(space):
        counted[network.version] += uplinks[network] - 1  # type: ignore[attr-defined]
    for address in _next_hops(space) | _ports(space, plan):
        counted[address.version] += 1
    for address in _servers(space):  # and they have an entry for it
        counted[address.version] += 2
    return counted


def _servers(space: NetnsPlan) -> set[IPAddress]:
    """Those that IPVS sends to without a router between."""
    networks = {each.address.network for each in space.addresses}
    return {each.address for each in space.real_servers if any(each.address in network for network in networks)}


def _next_hops(space: NetnsPlan) -> set[IPAddress]:
    """Gateways, and hosts with a route of their own, but for those over an uplink, which are other Nodes."""
    silent = {link.name for link in space.links if link.kind in _NO_NEIGHBORS or link.role is Role.UPLINK}
    known = {(each.dev, each.address) for each in space.neighbors}
    found = set()
    for route in space.routes:
        whole = route.dst.prefixlen == route.dst.max_prefixlen
        address = route.via or (route.dst.network_address if whole else None)
        if address and route.dev and route.dev not in silent and (route.dev, address) not in known:
            found.add(address)
    return found


def _ports(space: NetnsPlan, plan: Plan) -> set[IPAddress]:
    """The Pods behind a Node's bridge, by those of their addresses that it is in one network with. In an overlay
    network's own netns nothing runs that would talk to them."""
    if space.kind is NetnsKind.NETWORK:
        return set()
    networks: defaultdict[str, list[IPNetwork]] = defaultdict(list)
    for each in space.addresses:
        networks[each.dev].append(each.address.network)
    return {
        each.address.ip
        for link in space.links
        if link.master and link.peer and link.role is Role.HOST_VETH and link.peer[0] in plan.netns
        for each in plan.netns[link.peer[0]].addresses
        if any(each.address.ip in network for network in networks[link.master])
    }


# -- flows, processes ---------------------------------------------------------------------------------------------


def _flows(plan: Plan) -> tuple[int, str]:
    """Of the Node with most: its probes' connections, which stay for two minutes, its daemons', and some of a user's.
    Each namespace counts for itself, against one limit (`nf_conntrack_max`)."""
    probes: Counter[str] = Counter()
    for space in plan.netns.values():
        if space.pod:
            probes[space.pod.node] += sum(_probed(space.pod))
    sessions = {
        space.name: len({each.route.via for each in space.expected}) for space in plan.netns.values() if space.daemons
    }
    totals = {name: probes[name] + sessions.get(name, 0) for name in {*probes, *sessions}}
    name = max(sorted(totals), key=totals.__getitem__, default="")
    return totals.get(name, 0) + _FLOWS_OF_A_USER, f"{name}'s probes, daemons and {_FLOWS_OF_A_USER} connections"


def _probed(pod: PodSandbox) -> Iterator[int]:
    for process in pod.processes:
        for probe in (process.container.readiness_probe, process.container.liveness_probe):
            if probe and not probe.exec:
                yield 1 + -(-_TIME_WAIT_S // max(probe.period_seconds, 1))


def _processes(plan: Plan) -> int:
    """Each namespace that runs programs has a first process; a container that the shared server serves has none."""
    count = _LABS_PROCESSES
    for space in plan.netns.values():
        count += _has_processes(space) + len(space.daemons)
        if space.pod:
            count += sum(not each.program.serve for each in space.pod.processes)
    return count


def _has_processes(space: NetnsPlan) -> bool:
    return bool(space.daemons or (space.pod and any(not each.program.serve for each in space.pod.processes)))
