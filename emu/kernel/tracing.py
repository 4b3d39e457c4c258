"""Why a packet went its way, read from the kernel: what `trace.explain` looks up. The rules come from netfilter's trace
of the flow (`FlowTrace`), the rest is asked for when it is wanted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from emu.kernel import conntrack, ipvs, sockets, tracing_tunnels
from emu.kernel.conntrack import Entry, Tuple
from emu.kernel.netns import Netns
from emu.kernel.tracing_ebpf import DecisionTrace
from emu.kernel.tracing_flow import FlowTrace
from emu.kernel.tracing_routes import Asker
from emu.plan.model import IPAddress
from emu.trace import conntrack as trace_conntrack
from emu.trace.conntrack import Tracked
from emu.trace.decisions import Decision
from emu.trace.model import Flow, Headers

__all__ = ["FlowTrace", "KernelLookup"]


class KernelLookup:
    """Implements `trace.explain.Lookup`: every answer is "", () or None when there is nothing. `close` when done."""

    def __init__(
        self,
        netns_of: Callable[[str], Netns],
        trace: FlowTrace | None = None,
        programs: DecisionTrace | None = None,
    ) -> None:
        self._netns_of, self._trace, self._programs = netns_of, trace, programs
        self._askers: dict[str, Asker] = {}

    def __enter__(self) -> KernelLookup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        while self._askers:
            self._askers.popitem()[1].close()

    def route(  # noqa: PLR0917 -- the order `ip route get` has them in
        self,
        netns: str,
        src: IPAddress | None,
        dst: IPAddress,
        iif: str = "",
        mark: int = 0,
        proto: str = "",
        sport: int = 0,
        dport: int = 0,
    ) -> str:
        """The entry of the routing table: `10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink`."""
        return self._ask(netns).route(src, dst, iif=iif, mark=mark, proto=proto, ports=(sport, dport))

    def neighbor(self, netns: str, dev: str, ip: IPAddress) -> str:
        """`10.244.2.0 dev flannel.1 lladdr 02:… PERMANENT`"""
        return self._ask(netns).neighbor(dev, ip)

    def fdb(self, netns: str, dev: str, mac: str) -> str:
        """`02:… dev flannel.1 dst 192.168.100.12 self permanent`"""
        return self._ask(netns).fdb(dev, mac)

    def bridge_fdb(self, netns: str, bridge: str, mac: str) -> str:
        """`02:… dev veth0a1b2c3d master cni0`"""
        return self._ask(netns).bridge_fdb(bridge, mac)

    def tunnel(self, netns: str, dev: str) -> str:
        """Of the module: `tunl0: any/ip remote any local any ttl inherit nopmtudisc`"""
        return tracing_tunnels.tunnel(self._ask(netns).connection, dev)

    def program(self, netns: str, dev: str, where: str) -> str:
        """`filter protocol all pref 1 bpf chain 0 handle 0x1 ipip_encap direct-action … id 105 tag …`"""
        return tracing_tunnels.program(self._ask(netns).connection, dev, where)

    def conntrack(self, netns: str, headers: Headers) -> Tracked | None:
        """The entry a packet with these headers belongs to, whichever its direction and on whichever side of a NAT."""
        found = self._entries(netns, headers.src.version)
        return next((_tracked(entry) for entry in found if _of(entry.orig, headers) or _of(entry.reply, headers)), None)

    def requests(self, flow: Flow) -> tuple[Tracked, ...]:
        """The entries, at the sender's, whose first packet was the flow's request; of a flow without a source port
        there may be several."""
        found = map(_tracked, self._entries(flow.netns, flow.dst.version))
        return tuple(each for each in found if _asked(each.original, flow))

    def _entries(self, netns: str, family: int) -> Iterator[Entry]:
        """As they are now; then as they were when they were new."""
        yield from conntrack.entries(self._netns_of(netns), family)
        yield from self._trace.connections(netns) if self._trace else ()

    def rules(self, netns: str, headers: Headers) -> tuple[str, ...]:
        """The rules a packet with these headers matched: `-t nat -A KUBE-SERVICES …`."""
        return self._trace.rules(netns, headers) if self._trace else ()

    def decisions(self, netns: str) -> tuple[Decision, ...]:
        """What eBPF programs at links there have found in maps, for whatever packet."""
        return self._programs.packets(netns) if self._programs else ()

    def chosen(self, flow: Flow) -> tuple[Decision, ...]:
        """What programs at the sender's socket have found for the flow, the last time."""
        if self._programs is None:
            return ()
        own = int.from_bytes(sockets.cookie(self._netns_of(flow.netns)), sys.byteorder)
        found = [each for each in self._programs.sockets(own) if each.flow and _connects(each.flow, flow)]
        return tuple({each.entry.map: each for each in found}.values())

    def balanced(self, netns: str, headers: Headers, mark: int) -> str:
        """The service that has taken a packet with these headers, and the server of its connection:
        `FWM  258 rr -> 10.0.1.3:0 Masq 1`"""
        return ipvs.chosen(self._netns_of(netns), headers, mark)

    def _ask(self, netns: str) -> Asker:
        if netns not in self._askers:
            self._askers[netns] = Asker(self._netns_of(netns))
        return self._askers[netns]


def _connects(one: trace_conntrack.Tuple, flow: Flow) -> bool:
    return (one.dst, one.proto, one.dport) == (flow.dst, flow.proto, flow.dport) and one.sport in (
        0,
        flow.sport or one.sport,
    )


def _asked(one: trace_conntrack.Tuple, flow: Flow) -> bool:
    ports = (flow.sport or one.sport, 0 if flow.proto == "icmp" else flow.dport)
    return (one.dst, one.proto.rstrip("6")) == (flow.dst, flow.proto) and (one.sport, one.dport) == ports


def _tracked(entry: Entry) -> Tracked:
    return Tracked(str(entry), _ends(entry.orig), _ends(entry.reply), entry.mark)


def _ends(one: Tuple) -> trace_conntrack.Tuple:
    """Of ICMP the kernel's tuple has the type and code as well."""
    proto = one.proto.replace("icmpv6", "icmp6")
    dport = 0 if proto in trace_conntrack.ICMP else one.dport
    return trace_conntrack.Tuple(one.src, one.dst, proto, one.sport, dport)


def _of(one: Tuple, headers: Headers) -> bool:
    """The packet has the addresses of this direction; or of the other turned around, as it has behind a NAT."""
    if one.proto.replace("icmpv6", "icmp6") != headers.proto:
        return False
    there = (one.src, one.dst) == (headers.src, headers.dst)
    back = (one.dst, one.src) == (headers.src, headers.dst)
    if headers.proto.startswith("icmp"):
        return (there or back) and one.sport == headers.sport
    ports = (headers.sport, headers.dport)
    return (there and (one.sport, one.dport) == ports) or (back and (one.dport, one.sport) == ports)
