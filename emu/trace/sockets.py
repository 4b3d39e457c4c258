"""A Service's address at the socket: what the programs of emu/kernel/bpf/cilium_sock.c make of it by planned maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from emu.plan.ebpf import MapEntry, SocketProgram, Value
from emu.trace.decisions import BACKENDS, SERVICES, Decision
from emu.trace.model import Cause, Flow
from emu.trace.world import Machine, World

CONNECT = "connect4"
NO_BACKEND = "connect: No route to host, for the Service has no backend"


@dataclass(frozen=True, slots=True)
class Connected:
    """`flow` None: the call fails."""

    flow: Flow | None
    causes: tuple[Cause, ...] = ()


def connect(world: World, flow: Flow, pick: Callable[[Sequence[float]], int]) -> Connected:
    """What connect() to the flow's destination leads to; each backend as likely as any other."""
    machine = _node(world, flow.netns)
    program = next((p for p in machine.plan.programs if isinstance(p, SocketProgram) and p.hook == CONNECT), None)
    if program is None or not isinstance(flow.dst, IPv4Address):
        return Connected(flow)
    key = (flow.dst, flow.dport, 0, flow.proto.upper())
    services = machine.maps.get(SERVICES, {})
    service = services.get(key)
    if service is None:
        return Connected(flow)

    def found(name: str, key: tuple[object, ...], value: tuple[object, ...]) -> Cause:
        entry = MapEntry(map=name, key=key, value=value)  # type: ignore[arg-type]
        return Decision(netns=machine.name, program=program.name, entry=entry).cause

    asked = found(SERVICES, key, service)
    count = int(str(service[1]))
    if not count:
        return Connected(None, (asked,))
    slot = pick([1 / count] * count) + 1
    number = services[flow.dst, flow.dport, slot, flow.proto.upper()][0]
    backend = machine.maps[BACKENDS][number,]
    to = with_end(flow, backend)
    return Connected(to, (asked, found(BACKENDS, (number,), backend)))


def to_backend(flow: Flow, decision: Decision) -> Flow:
    """The flow as a program has made it, if this is what it did."""
    return with_end(flow, decision.entry.value) if decision.entry.map == BACKENDS else flow


def with_end(flow: Flow, backend: tuple[Value, ...]) -> Flow:
    address, port, _ = backend
    assert isinstance(address, IPv4Address) and isinstance(port, int)
    return replace(flow, dst=address, dport=port)


def _node(world: World, netns: str) -> Machine:
    """Whose programs look after the sockets of a netns."""
    machine = world.machines[netns]
    pod = machine.plan.pod
    return world.machines.get(pod.node, machine) if pod else machine
