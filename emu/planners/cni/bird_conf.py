"""bird.conf of a Node, as Calico's confd writes it: sessions with the other Nodes, this Node's blocks as static routes,
what is told to peers and to the kernel.

What differs from Calico's, and why: BIRD 2 has one daemon for both families, with a channel for each; `metric 0`, as
it would write 32; `connect delay time 1` in place of 2, as a lab should not wait; no `graceful restart`, so that a
daemon that ends takes its routes with it.
Source: projectcalico/calico confd/etc/calico/confd/templates (bird.cfg.template, bird_aggr.cfg.template,
bird_ipam.cfg.template); BIRD 2.0 User's Guide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from emu.cluster.model import IPAddress, IPNetwork

AS_NUMBER = 64512
CLUSTER_ID = IPv4Address("244.0.0.1")  # the one of Calico's documentation, for all reflectors together
NEXT_HOPS = "nh"
SUFFIX = {4: "", 6: "6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """`client`: this Node reflects routes to it. `meshed`: every Node is everybody's peer."""

    node: str
    address: IPAddress
    client: bool = False
    meshed: bool = True

    @property
    def protocol(self) -> str:
        """As Calico calls the session."""
        kind = "Mesh" if self.meshed else "Node"
        return f"{kind}_{str(self.address).replace('.', '_').replace(':', '_')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """By which link another Node is a next hop, where not the routing table says it. `onlink`: through a tunnel, where
    it is on no network of the link."""

    address: IPAddress
    dev: str
    onlink: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A Node as BIRD knows it. `addresses`, `pools` and `blocks` are of all its families; `ways` are of IPv4."""

    node: str
    router_id: IPv4Address
    addresses: tuple[IPAddress, ...]
    blocks: tuple[IPNetwork, ...]
    pools: tuple[IPNetwork, ...]
    peers: tuple[Peer, ...]
    ways: tuple[Way, ...] = ()

    def own(self, family: int) -> tuple[IPNetwork, ...]:
        return tuple(block for block in self.blocks if block.version == family)


def text(own: Speaker) -> str:
    return "\n".join(_lines(own)) + "\n"


def _lines(own: Speaker) -> Iterator[str]:
    families = [address.version for address in own.addresses]
    yield f"# BIRD on {own.node}"
    yield "log stderr { info, warning, error, fatal, remote, auth, bug };"
    yield f"router id {own.router_id};"
    yield ""
    yield "protocol device { scan time 2; }"
    yield "protocol direct {"
    yield from (f"  ipv{family};" for family in families)
    yield '  interface -"cali*", -"kube-ipvs*", "*";'
    yield "}"
    for family in families:
        yield from _filters(own, family)
        yield from _local(own, family)
        yield from _ways(own.ways if family == 4 else ())
        yield from _template(family, NEXT_HOPS if family == 4 and own.ways else "")
    for peer in own.peers:
        yield from _session(own, peer)


def _filters(own: Speaker, family: int) -> Iterator[str]:
    """A block is told as a whole, never the Pods in it; the single addresses of others' blocks are told."""
    suffix = SUFFIX[family]
    yield ""
    yield f"function calico_aggr{suffix}()"
    yield "{"
    for block in own.own(family):
        yield f"  if net = {block} then accept;"
        yield f"  if net ~ {block} then reject;"
    yield "}"
    yield f"filter calico_export_to_bgp_peers{suffix} {{"
    yield f"  calico_aggr{suffix}();"
    yield from (f"  if net ~ {pool} then accept;" for pool in own.pools if pool.version == family)
    yield "  reject;"
    yield "}"
    yield f"filter calico_kernel_programming{suffix} {{"
    yield "  if source = RTS_DEVICE then reject;  # the kernel has made these itself"
    yield "  accept;"
    yield "}"


def _local(own: Speaker, family: int) -> Iterator[str]:
    yield "protocol static {"
    yield f"  ipv{family};"
    yield from (f"  route {block} blackhole;" for block in own.own(family))
    yield "}"
    yield "protocol kernel {"
    yield "  learn;          # Felix's routes to Pods too"
    yield "  persist;        # routes stay when BIRD is told to end"
    yield "  scan time 2;"
    yield "  metric 0;"
    yield f"  ipv{family} {{ import all; export filter calico_kernel_programming{SUFFIX[family]}; }};"
    yield "  merge paths on;"
    yield "}"


def _ways(ways: tuple[Way, ...]) -> Iterator[str]:
    """Calico's BIRD is told by `krt_tunnel` to send what it learns through a tunnel; this one has no such thing. A
    table of its own, in which next hops are looked up, says the same."""
    if not ways:
        return
    yield f"ipv4 table {NEXT_HOPS};"
    yield "protocol static next_hops {"
    yield f"  ipv4 {{ table {NEXT_HOPS}; }};"
    for way in ways:
        yield f"  route {way.address}/32 via {way.address}%{way.dev}{' onlink' if way.onlink else ''};"
    yield "}"


def _template(family: int, table: str) -> Iterator[str]:
    yield f"template bgp bgp_template{SUFFIX[family]} {{"
    yield f"  local as {AS_NUMBER};"
    yield "  multihop;"
    yield f"  ipv{family} {{"
    if table:
        yield "    gateway recursive;"
        yield f"    igp table {table};"
    else:
        yield "    gateway recursive;  # by the route to the Node that said it, which may be across a router"
    yield "    import all;"
    yield f"    export filter calico_export_to_bgp_peers{SUFFIX[family]};"
    yield "    add paths on;"
    yield "  };"
    yield "  connect delay time 1;"
    yield "  connect retry time 5;"
    yield "  error wait time 5, 30;"
    yield "}"


def _session(own: Speaker, peer: Peer) -> Iterator[str]:
    family = peer.address.version
    source = next(address for address in own.addresses if address.version == family)
    yield ""
    yield f"protocol bgp {peer.protocol} from bgp_template{SUFFIX[family]} {{"
    yield f"  neighbor {peer.address} as {AS_NUMBER};  # {peer.node}"
    yield f"  source address {source};"
    if peer.client:
        yield "  rr client;"
        yield f"  rr cluster id {CLUSTER_ID};"
    yield "}"
