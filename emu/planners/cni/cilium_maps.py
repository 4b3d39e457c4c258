"""What a Node's programs look up: cilium_lxc, the endpoints of the Node, and cilium_ipcache, the identity of every
address and the Node to tunnel to. The Node's own addresses are endpoints with a flag: what is for them goes to its
stack.

Source: cilium/cilium pkg/maps/lxcmap, pkg/maps/ipcache, pkg/ipcache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_network

from emu import names
from emu.addressing import EVERYTHING
from emu.cluster.model import Cluster, IPInterface, Pod
from emu.memo import Memo
from emu.plan.ebpf import MapEntry, Value
from emu.plan.merge import Fragment
from emu.plan.model import NetnsKind, NetnsPlan
from emu.planners.cni import cilium_identity
from emu.planners.cni.cilium_identity import HOST, REMOTE_NODE, WORLD

HOST_FLAG = 1
NO_MAC = "00:00:00:00:00:00"
DIRECT = IPv4Address(0)  # no tunnel


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A Node as the others know it: its own address, the range of its Pods, and its address among them."""

    node: str
    public: IPInterface
    cidr: IPv4Network
    router: IPv4Address

    @property
    def ends(self) -> IPv4Address:
        """Where a tunnel to it ends."""
        assert isinstance(self.public, IPv4Interface)
        return self.public.ip


def plan(cluster: Cluster, homes: tuple[Home, ...], tunnel: bool) -> Iterator[Fragment]:
    known = cilium_identity.identities(cluster.pods)
    numbers = tuple(cilium_identity.of(pod, known) for pod in cluster.pods)
    for home in homes:
        yield _maps((cluster.name, home.node), home, homes, cluster.pods, numbers, cluster.seed, tunnel)


def _make_maps(  # noqa: PLR0917 -- what it depends on
    home: Home, homes: tuple[Home, ...], pods: tuple[Pod, ...], numbers: tuple[int, ...], seed: int, tunnel: bool
) -> NetnsPlan:
    everybody = tuple(zip(pods, numbers, strict=True))
    own = [(pod, number) for pod, number in everybody if pod.node == home.node]
    ids = cilium_identity.endpoints(pod for pod, _ in own)
    ends = {each.node: each.ends if tunnel and each.node != home.node else DIRECT for each in homes}
    by_node = {each.node: each.ends if tunnel else DIRECT for each in homes}
    endpoints = [_endpoint(pod.key, seed, pod, number, ids[pod.key]) for pod, number in own]
    remotes = [_known(pod.key, pod, number, by_node[pod.node])[pod.node != home.node] for pod, number in everybody]
    return NetnsPlan(
        name=home.node,
        kind=NetnsKind.NODE,
        owner=home.node,
        maps=(*_hosts(home), *endpoints, *_nodes(home, homes, ends), *remotes),
    )


_maps: Memo[NetnsPlan] = Memo(_make_maps)


def _hosts(home: Home) -> Iterator[MapEntry]:
    for address in (home.ends, home.router):
        yield MapEntry(map="cilium_lxc", key=(address,), value=("", 0, HOST_FLAG, 0, NO_MAC, NO_MAC))


def _make_endpoint(seed: int, pod: Pod, identity: int, number: int) -> MapEntry:
    link = names.cilium_veth(seed, pod.namespace, pod.name)
    macs = (names.mac(end, seed, pod.namespace, pod.name) for end in ("pod", "lxc"))
    value: tuple[Value, ...] = (link, identity, 0, number, *macs)
    return MapEntry(map="cilium_lxc", key=(_address(pod),), value=value)


_endpoint: Memo[MapEntry] = Memo(_make_endpoint, size=1 << 15)


def _nodes(home: Home, homes: tuple[Home, ...], ends: dict[str, IPv4Address]) -> Iterator[MapEntry]:
    everything = EVERYTHING[4]
    assert isinstance(everything, IPv4Network)
    yield _entry(everything, WORLD, DIRECT)
    for each in homes:
        identity = HOST if each.node == home.node else REMOTE_NODE
        yield _entry(IPv4Network(each.ends), identity, DIRECT)
        yield _entry(IPv4Network(each.router), identity, ends[each.node])
        if each.node != home.node:
            yield _entry(each.cidr, WORLD, ends[each.node])


def _make_known(pod: Pod, identity: int, end: IPv4Address) -> tuple[MapEntry, MapEntry]:
    """As its own Node knows it, and as the others do."""
    network = ip_network(_address(pod))
    assert isinstance(network, IPv4Network)
    return _entry(network, identity, DIRECT), _entry(network, identity, end)


_known: Memo[tuple[MapEntry, MapEntry]] = Memo(_make_known, size=1 << 15)


def _entry(prefix: IPv4Network, identity: int, end: IPv4Address) -> MapEntry:
    return MapEntry(map="cilium_ipcache", key=(prefix,), value=(identity, end))


def _address(pod: Pod) -> IPv4Address:
    return next(address for address in pod.addresses if isinstance(address, IPv4Address))
