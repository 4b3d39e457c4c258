"""The simulator, as what carries a packet part of its way for it sees it: programs at tc, tunnels."""

from __future__ import annotations

from typing import Protocol

from emu.plan.model import Link
from emu.trace.conntrack import Conntrack
from emu.trace.model import CauseKind, Direction
from emu.trace.packet import Journey, Packet
from emu.trace.world import Machine, World


class Carrier(Protocol):
    world: World
    way: Journey
    masqueraded: dict[str, Conntrack]

    def output(self, machine: Machine, packet: Packet) -> None: ...
    def transmit(self, machine: Machine, dev: str, packet: Packet) -> None: ...
    def receive(self, machine: Machine, link: Link, packet: Packet) -> None: ...
    def redirect_to_neighbor(self, machine: Machine, dev: str, packet: Packet, iif: str = "") -> None: ...
    def seen(self, machine: Machine, link: Link, packet: Packet, direction: Direction, optional: str = "") -> None: ...
    def because(self, kind: CauseKind, machine: Machine, text: str, effect: str) -> None: ...
