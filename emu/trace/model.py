"""What is seen, what is expected: packets, hops, causes, paths. No packet library, no kernel: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from emu.plan.model import IPAddress, Role


@dataclass(frozen=True, slots=True, order=True)
class CapturePoint:
    """Where packets are taken. `str()` is the name of the pcapng interface: `node1:cni0`, `default/web:eth0`."""

    netns: str
    ifname: str
    role: Role
    owner: str  # as in plan.model.Link
    label: str = ""  # node or Pod name as a user says it; netns when empty

    def __str__(self) -> str:
        return f"{self.label or self.netns}:{self.ifname}"

    @property
    def stacked(self) -> bool:
        """On another interface that frames arrive at. A frame keeps its time stamp on the way from a port to its
        bridge or switch, and from an uplink to the tunnel, so that only this says which came first."""
        is_switch = self.role is Role.FABRIC and self.ifname == self.owner
        return is_switch or self.role in (Role.BRIDGE, Role.TUNNEL)


class Direction(StrEnum):
    """As the interface sees it: IN arrived at it, OUT left through it."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """One IP header and the transport header behind it. Ports are 0 where there are none; for ICMP echo
    `sport` is the identifier. `proto`: tcp, udp, icmp, icmp6, sctp, ipip, or the number as text. `fragments`: in how
    many pieces the packet is on the way; 0 for one that is whole."""

    src: IPAddress
    dst: IPAddress
    proto: str
    sport: int = 0
    dport: int = 0
    ttl: int = 64
    note: str = ""  # SYN, SYN-ACK, echo request, echo reply, unreachable: port, …
    fragments: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Encapsulation:
    """The outer headers of a tunnelled packet. `kind`: vxlan, ipip, geneve."""

    kind: str
    outer: Headers
    vni: int = 0
    outer_src_mac: str = ""
    outer_dst_mac: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRecord:
    """One packet at one capture point. `src_mac`/`dst_mac` are those of the frame the (inner) packet lies in.
    `same` identifies the packet across hops: it is equal wherever the packet is seen, NAT and tunnels notwithstanding
    (built from what neither changes: TCP sequence numbers and flags, payload digest, ICMP sequence)."""

    point: CapturePoint
    time_ns: int
    direction: Direction
    length: int
    inner: Headers | None  # None: not IP (ARP …)
    encapsulation: Encapsulation | None = None
    src_mac: str = ""
    dst_mac: str = ""
    same: str = ""
    summary: str = ""  # one line, for what has no inner headers
    flags: tuple[str, ...] = ()  # "gso", "partial-checksum"


class CauseKind(StrEnum):
    RULE = "rule"  # netfilter rule
    CONNTRACK = "conntrack"
    ROUTE = "route"
    NEIGHBOR = "neighbor"
    FDB = "fdb"
    BRIDGE = "bridge"  # switched by a bridge
    TUNNEL = "tunnel"  # put into a tunnel, or taken out, by a link that looks nothing up
    EBPF = "ebpf"  # what a program found in a map
    IPVS = "ipvs"  # the server that a virtual service has given it
    LINK = "link"  # the other end of a veth
    LOCAL = "local"  # delivered to, or made by, a socket here


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a packet went on as it did, between this hop and the next. `text` is what the real tool would show:
    a rule as `iptables-save` writes it (with `-t table`), a route as `ip route` prints it, a neighbor as `ip neigh`,
    an FDB entry as `bridge fdb`, a virtual service and its server as `ipvsadm -Ln`, a tunnel as `ip tunnel` or, by
    eBPF, `tc filter`; of a program that looks things up, its name and the entry of the map. `effect` says what it did:
    "DNAT to 10.244.2.3:80", "to flannel.1"."""

    kind: CauseKind
    netns: str
    text: str
    effect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A packet at one capture point. `causes` are what led from here to the next hop (or ended the packet).
    `optional`, in a prediction only: why the packet may go by without being seen here; "": it must be seen."""

    point: CapturePoint
    direction: Direction
    inner: Headers
    encapsulation: Encapsulation | None = None
    src_mac: str = ""
    dst_mac: str = ""
    changed: tuple[str, ...] = ()  # against the hop before: "DNAT 10.96.0.10:53 → 10.244.1.2:53", "ttl 64 → 63", …
    causes: tuple[Cause, ...] = ()
    time_ns: int = 0
    optional: str = ""


class Verdict(StrEnum):
    """REJECTED: it did not arrive and its sender was told, by an ICMP error from the way or by a rule; DROPPED: it did
    not arrive, and nobody was told. An answer of the one it was sent to, if it is a refusal, makes it DELIVERED."""

    DELIVERED = "delivered"
    DROPPED = "dropped"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One direction of a flow: its hops and how it ended. `probability` is of this choice among the predicted ones.
    `origin` is what happened before the first hop: a Node's own packet has passed OUTPUT when it is first seen."""

    hops: tuple[Hop, ...]
    verdict: Verdict = Verdict.DELIVERED
    reason: str = ""
    probability: float = 1.0
    origin: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Forward and reply. A rejected or dropped flow may have no reply, or the reply of the rejecting Node (ICMP)."""

    forward: Leg
    reply: Leg | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What is sent: from a netns, to an address. `sport` 0: the sender's choice, and then not compared. `size`: bytes
    of payload behind the ICMP or UDP header, None for a few; `df`: with "don't fragment"."""

    netns: str
    dst: IPAddress
    proto: str  # tcp, udp, icmp
    dport: int = 0
    sport: int = 0
    src: IPAddress | None = None  # None: the kernel's choice, predicted from the routes
    label: str = ""  # as the user asked: "default/client → web:80"
    size: int | None = None
    df: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """All the paths that may happen, most probable first. Written down before the first packet leaves."""

    flow: Flow
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first hop that differs. `what` is the sentence a user reads."""

    leg: str  # forward, reply
    index: int
    expected: Hop | None
    observed: Hop | None
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceResult:
    flow: Flow
    prediction: Prediction
    observed: Path
    matched: int | None = None  # index into prediction.paths; None: none agrees
    difference: Difference | None = None  # against the nearest predicted path
    drift: tuple[str, ...] = ()  # what differs between plan and kernel where the paths part
    reply_text: str = ""  # what the request printed or got
    dropped_by_capture: int = 0
    warnings: tuple[str, ...] = field(default=())
    unproven: str = ""  # why it cannot be told whether the path is the predicted one; "": it can

    @property
    def ok(self) -> bool:
        return self.matched is not None and not self.unproven
