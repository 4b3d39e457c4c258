"""What an eBPF program found in a map and did for it, in the same words where it is predicted and where it is told."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from emu.plan import ebpf
from emu.plan.ebpf import LAYOUTS, MapEntry, Value
from emu.trace.conntrack import Tuple
from emu.trace.model import Cause, CauseKind

LXC, IPCACHE, SNAT = "cilium_lxc", "cilium_ipcache", "cilium_snat_v4"
SERVICES, BACKENDS = "cilium_lb4_services_v2", "cilium_lb4_backends_v3"
HOST_FLAG = 1
REFUSED = "no backend: EHOSTUNREACH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`dev`: the link the program is at, "" for a socket. `flow`: the packet as it was then; of a socket, whose own
    address is not chosen yet, its destination and port."""

    netns: str
    program: str
    entry: MapEntry
    dev: str = ""
    flow: Tuple | None = None

    @property
    def on_the_way_in(self) -> bool:
        return self.program in ("cil_from_container", "cil_from_overlay", "cil_from_netdev")

    @property
    def past_the_stack(self) -> bool:
        """The packet was sent on from here, without the Node's routing."""
        name, value = self.entry.map, self.entry.value
        if name == LXC:
            return not int(str(value[2])) & HOST_FLAG or self.program == "cil_from_overlay"
        return name == IPCACHE and value[1] != IPv4Address(0)

    @property
    def cause(self) -> Cause:
        text = f"{self.program}: {ebpf.text(self.entry)}"
        return Cause(kind=CauseKind.EBPF, netns=self.netns, text=text, effect=self._effect)

    @property
    def _effect(self) -> str:
        name, value = self.entry.map, self.entry.value
        if name == LXC and self.past_the_stack:
            if not value[0]:
                return "to cilium_host (bpf_redirect)"
            how = "bpf_redirect" if self.program == "cil_from_host" else "bpf_redirect_peer"
            return f"{'into the Pod' if how.endswith('peer') else f'to {value[0]}'} ({how})"
        if name == LXC:
            return "to the Node's own stack"
        if name == IPCACHE:
            return f"VXLAN to {value[1]}" if self.past_the_stack else "out (bpf_fib_lookup, bpf_redirect_neigh)"
        if name == SNAT:
            return f"{'source becomes' if self.program == 'cil_to_netdev' else 'destination back to'} {_end(value)}"
        if name == SERVICES:
            return REFUSED if not value[1] else ""
        return f"destination becomes {_end(value)}"


def _end(value: tuple[Value, ...]) -> str:
    return f"{value[0]}:{value[1]}" if value[1] else str(value[0])


def comparable(cause: Cause) -> str:
    """What must be the same in a prediction and in an event: all of it where the plan has the entry; of what programs
    write, as the port of a masqueraded packet, that they have found it."""
    program, _, rest = cause.text.partition(": ")
    name = rest.partition(" ")[0]
    return cause.text if LAYOUTS[name].planned else f"{program}: {name}"
