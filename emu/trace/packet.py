"""The packet under simulation, and the way it has come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from emu.plan.model import IPAddress
from emu.trace.conntrack import Entry
from emu.trace.model import CapturePoint, Cause, Direction, Encapsulation, Headers, Hop, Verdict


@dataclass(slots=True)
class Packet:
    """`about`: of an ICMP error, the packet it tells of, as its sender saw it. `inside`: of a tunnel's packet, what it
    carries, with the tunnel's kind and `vni`. `entry` and `reply`: its conntrack entry in the netns it is in. `length`
    of the whole, 0 for one that fits anywhere; `df`: nobody may cut it; `pieces`: what each fragment carries behind the
    IP header, () for a whole packet; `largest`: the longest piece it has been put together of, 0 for none."""

    headers: Headers
    src_mac: str = ""
    dst_mac: str = ""
    mark: int = 0
    about: Headers | None = None
    inside: Packet | None = None
    tunnel: str = "vxlan"
    vni: int = 0
    entry: Entry | None = None
    reply: bool = False
    untracked: bool = False  # a rule has kept conntrack from it
    length: int = 0
    df: bool = False
    pieces: tuple[int, ...] = ()
    largest: int = 0
    key: tuple[int, IPAddress] | None = None  # for an external tunnel: VNI and other end
    answer: bool = False  # made by a kernel or a server

    def enter(self) -> None:
        """Crossing a wire into another netns: the mark and the conntrack entry stay behind (skb_scrub_packet)."""
        self.mark, self.entry, self.reply, self.untracked, self.largest = 0, None, False, False, 0

    def lower_ttl(self) -> None:
        self.headers = replace(self.headers, ttl=self.headers.ttl - 1)


@dataclass(slots=True)
class Journey:
    """One leg while it is being made. `end` is where it was delivered; `error` what is sent back about it (an ICMP
    error, a RST), and the netns that sends it."""

    hops: list[Hop] = field(default_factory=list)
    causes: list[list[Cause]] = field(default_factory=lambda: [[]])  # [0]: before the first hop
    verdict: Verdict = Verdict.DELIVERED
    reason: str = ""
    end: tuple[str, Packet] | None = None
    error: tuple[str, Packet] | None = None

    def because(self, cause: Cause) -> None:
        self.causes[-1].append(cause)

    def seen(self, hop: Hop) -> None:
        self.hops.append(hop)
        self.causes.append([])

    def stop(self, reason: str, verdict: Verdict = Verdict.DROPPED) -> None:
        self.verdict, self.reason = verdict, reason


def hop_of(packet: Packet, point: CapturePoint, direction: Direction, optional: str = "") -> Hop:
    """The packet as a capture shows it there; MACs left to the kernel are shown as ""."""
    inner, encapsulation = packet, None
    if packet.inside is not None:
        inner = packet.inside
        encapsulation = Encapsulation(
            kind=packet.tunnel,
            outer=_in_pieces(packet),
            vni=packet.vni,
            outer_src_mac=_known(packet.src_mac),
            outer_dst_mac=_known(packet.dst_mac),
        )
    return Hop(
        point=point,
        direction=direction,
        inner=_in_pieces(inner),
        encapsulation=encapsulation,
        src_mac=_known(inner.src_mac),
        dst_mac=_known(inner.dst_mac),
        optional=optional,
    )


def _in_pieces(packet: Packet) -> Headers:
    return replace(packet.headers, fragments=len(packet.pieces)) if packet.pieces else packet.headers


def _known(mac: str) -> str:
    return "" if mac.startswith("?") else mac
