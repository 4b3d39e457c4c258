"""What the programs of the Cilium datapath (emu/kernel/bpf/cilium.c) do with a packet, by the planned maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network

from emu.plan.ebpf import MapEntry, Value
from emu.plan.model import IPAddress, Link
from emu.trace import conntrack
from emu.trace.conntrack import Conntrack, tuple_of
from emu.trace.decisions import HOST_FLAG, IPCACHE, LXC, SNAT, Decision
from emu.trace.model import Cause
from emu.trace.packet import Packet
from emu.trace.world import Machine

FIRST_PORT = 32768  # for masqueraded packets; one below is not kept
HOST, WORLD, REMOTE_NODE = 1, 2, 6
MARK_OVERLAY, MARK_IDENTITY = 0x0400, 0x0F00

Values = tuple[Value, ...]


class Verdict(Enum):
    GO_ON = auto()  # as if there were no program
    INTO_POD = auto()  # bpf_redirect_peer: in at the other end of `dev`
    SEND = auto()  # bpf_redirect: out by `dev`
    COME_IN = auto()  # bpf_redirect, ingress: in by `dev`
    ROUTE = auto()  # bpf_fib_lookup and bpf_redirect_neigh
    DROP = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    dev: str = ""
    causes: tuple[Cause, ...] = ()
    reason: str = ""  # of a drop


GO_ON = Outcome(Verdict.GO_ON)


@dataclass(slots=True)
class Run:
    """One program for one packet. `nat`: what this Node masquerades."""

    machine: Machine
    program: str
    link: Link
    packet: Packet
    nat: Conntrack
    causes: list[Cause] = field(default_factory=list)

    def find(self, name: str, key: IPAddress) -> Values | None:
        """And say so."""
        value = self.look(name, key)
        if value is not None:
            self.say(MapEntry(map=name, key=(_plain(key),), value=value))
        return value

    def look(self, name: str, key: IPAddress) -> Values | None:
        entries = self.machine.maps.get(name, {})
        if name != IPCACHE:
            return entries.get((_plain(key),))
        fitting = [entry for entry in entries if isinstance(entry[0], IPv4Network) and key in entry[0]]
        best = max(fitting, key=lambda entry: entry[0].prefixlen, default=None)  # type: ignore[union-attr]
        return entries[best] if best else None

    def say(self, entry: MapEntry) -> None:
        decision = Decision(netns=self.machine.name, program=self.program, entry=entry, dev=self.link.name)
        self.causes.append(decision.cause)

    def ends(self, verdict: Verdict, dev: str = "", reason: str = "") -> Outcome:
        return Outcome(verdict, dev, tuple(self.causes), reason)

    def drop(self, reason: str) -> Outcome:
        return self.ends(Verdict.DROP, reason=f"{self.machine.plan.owner}: {self.program}: {reason}")

    def routed(self, src_mac: str = "", dst_mac: str = "") -> bool:
        if self.packet.headers.ttl <= 1:
            return False
        self.packet.lower_ttl()
        self.packet.src_mac, self.packet.dst_mac = src_mac or self.packet.src_mac, dst_mac or self.packet.dst_mac
        return True

    def deliver(self, endpoint: Values, verdict: Verdict) -> Outcome:
        link, _, _, _, mac, node_mac = endpoint
        if not self.routed(str(node_mac), str(mac)):
            return self.drop("the TTL ran out")
        return self.ends(verdict, str(link))

    def tunnel(self, end: Value, identity: Value) -> Outcome:
        assert isinstance(end, IPv4Address)
        self.packet.key = (int(str(identity)), end)
        return self.ends(Verdict.SEND, str(self.config[0]))

    @property
    def config(self) -> Values:
        return self.machine.maps["cilium_config"][0,]


def from_container(run: Run) -> Outcome:
    headers = run.packet.headers
    sender = run.look(LXC, headers.src)
    if sender is None or sender[0] != run.link.name:
        return run.drop(f"{headers.src} is not the address of the Pod at {run.link.name}")
    to = run.find(LXC, headers.dst)
    if to is not None and not _is_host(to):
        return run.deliver(to, Verdict.INTO_POD)
    if to is not None:
        run.packet.mark = MARK_IDENTITY | int(str(sender[1])) << 16
        return run.ends(Verdict.GO_ON) if run.routed(dst_mac=str(sender[5])) else run.drop("the TTL ran out")
    remote = run.find(IPCACHE, headers.dst)
    if remote is None:
        return run.drop(f"{headers.dst} is not in {IPCACHE}")
    if remote[1] != IPv4Address(0):
        return run.tunnel(remote[1], sender[1])
    return run.ends(Verdict.ROUTE) if run.routed() else run.drop("the TTL ran out")


def from_host(run: Run) -> Outcome:
    dst = run.packet.headers.dst
    to = run.look(LXC, dst)
    if to is not None and not _is_host(to):
        run.find(LXC, dst)
        return run.deliver(to, Verdict.SEND)
    remote = run.look(IPCACHE, dst)
    if remote is None or remote[0] == WORLD:
        return run.drop(f"no Pod has {dst}")
    run.find(IPCACHE, dst)
    return run.tunnel(remote[1], REMOTE_NODE) if remote[1] != IPv4Address(0) else run.ends(Verdict.GO_ON)


def from_overlay(run: Run) -> Outcome:
    dst = run.packet.headers.dst
    to = run.find(LXC, dst)
    if to is None:
        return run.drop(f"no Pod of this Node has {dst}")
    if not _is_host(to):
        return run.deliver(to, Verdict.INTO_POD)
    _, host, _, _, host_mac, overlay_mac = run.config
    if not run.routed(str(overlay_mac), str(host_mac)):
        return run.drop("the TTL ran out")
    return run.ends(Verdict.COME_IN, str(host))


def to_overlay(run: Run) -> Outcome:
    run.packet.mark = MARK_OVERLAY
    return GO_ON


def to_netdev(run: Run) -> Outcome:
    headers = run.packet.headers
    overlay, _, node, native, _, _ = run.config
    sender, remote = run.look(LXC, headers.src), run.look(IPCACHE, headers.dst)
    assert isinstance(native, IPv4Network) and isinstance(node, IPv4Address)
    if sender is None or _is_host(sender) or headers.dst in native or run.packet.about is not None:
        return GO_ON
    if run.packet.pieces:  # of which but the first has no ports
        return GO_ON
    if not overlay and remote is not None and remote[0] == REMOTE_NODE:
        return GO_ON
    if run.packet.answer:
        return GO_ON
    before = tuple_of(headers)
    entry, _ = run.nat.find(before)
    if entry is None:
        entry = run.nat.track(before)
        kept = headers.sport if headers.sport >= FIRST_PORT or not headers.sport else conntrack.ANY_PORT
        conntrack.source_nat(entry, node, kept)
    run.packet.headers = after = conntrack.rewrite_source(entry, headers, False)
    run.say(_translation(before, False, after.src, after.sport))
    return run.ends(Verdict.GO_ON)


def from_netdev(run: Run) -> Outcome:
    before, about = run.packet.headers, run.packet.about
    one = tuple_of(about).inverse() if about else tuple_of(before)
    entry, answer = run.nat.find(one)
    if entry is not None and answer:
        back, original = conntrack.rewrite_destination, entry.original
        if about is not None:
            run.packet.headers, run.packet.about = conntrack.rewrite_error(entry, before, about, back, True)
        else:
            run.packet.headers = back(entry, before, True)
        run.say(_translation(one, True, original.src, original.sport))
    to = run.look(LXC, run.packet.headers.dst)
    if to is None or _is_host(to):
        return run.ends(Verdict.GO_ON)
    run.find(LXC, run.packet.headers.dst)
    return run.deliver(to, Verdict.INTO_POD)


PROGRAMS: Mapping[str, Callable[[Run], Outcome]] = {
    "cil_from_container": from_container,
    "cil_from_host": from_host,
    "cil_from_overlay": from_overlay,
    "cil_to_overlay": to_overlay,
    "cil_from_netdev": from_netdev,
    "cil_to_netdev": to_netdev,
}


def _translation(one: conntrack.Tuple, answer: bool, address: IPAddress, port: int) -> MapEntry:
    dport = one.sport if one.proto in conntrack.ICMP else one.dport
    key = (_plain(one.src), _plain(one.dst), one.sport, dport, one.proto.upper(), int(answer))
    return MapEntry(map=SNAT, key=key, value=(_plain(address), port))


def _is_host(endpoint: Values) -> bool:
    return bool(int(str(endpoint[2])) & HOST_FLAG)


def _plain(address: IPAddress) -> IPv4Address:
    assert isinstance(address, IPv4Address)
    return address
