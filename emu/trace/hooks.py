"""A packet at a link's tc hook: what the program there does with it."""

from __future__ import annotations

from emu.plan.model import Link
from emu.trace import datapath
from emu.trace.carrier import Carrier
from emu.trace.conntrack import Conntrack
from emu.trace.datapath import Verdict
from emu.trace.packet import Packet
from emu.trace.world import Machine


def at_hook(carrier: Carrier, machine: Machine, link: Link, where: str, packet: Packet) -> bool:
    """True: it goes on as if there were no program."""
    program = machine.program(link.name, where)
    run = datapath.PROGRAMS.get(program.name) if program else None
    if program is None or run is None:
        return True
    nat = carrier.masqueraded.setdefault(machine.name, Conntrack())
    outcome = run(datapath.Run(machine, program.name, link, packet, nat))
    for cause in outcome.causes:
        carrier.way.because(cause)
    match outcome.verdict:
        case Verdict.GO_ON:
            return True
        case Verdict.DROP:
            carrier.way.stop(outcome.reason)
        case Verdict.ROUTE:
            carrier.redirect_to_neighbor(machine, "", packet, link.name)
        case Verdict.SEND:
            carrier.transmit(machine, outcome.dev, packet)
        case Verdict.COME_IN:
            carrier.receive(machine, machine.links[outcome.dev], packet)
        case Verdict.INTO_POD:
            _into(carrier, machine, outcome.dev, packet)
    return False


def _into(carrier: Carrier, machine: Machine, dev: str, packet: Packet) -> None:
    peer = carrier.world.peer((machine.name, dev))
    if peer is None:
        carrier.way.stop(f"{machine.plan.owner}:{dev} leads nowhere")
    else:
        other = carrier.world.machines[peer[0]]
        carrier.receive(other, other.links[peer[1]], packet)
