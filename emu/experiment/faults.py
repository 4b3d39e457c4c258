"""What can be broken in a lab, behind the testbed's back: by the commands an administrator would type on the Node.
Each kind is a function (fault, lab) → how it is mended; `KINDS` has them by the field that asks for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from emu.api.meta import json_name
from emu.api.wrong import Wrong
from emu.experiment import references
from emu.experiment.model import Failed
from emu.names import FABRIC_NETNS

if TYPE_CHECKING:
    from emu.experiment.lab import Lab
    from emu.experiment.world import World

#: (where, argv) …, to be run in this order.
Undo = tuple[tuple[str, Sequence[str]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One of `link` … `rule` says what; `on` says where, but for a link, which has its place in its name."""

    link: str = ""  # node1:eth0, client:eth0: the cable is pulled; another interface is set down
    route: str = ""  # 10.244.2.0/24
    ip_rule: str = json_name(
        "ip_rule", default=""
    )  # from 10.0.1.5: a part of a rule's text in `ip rule`: every one that has it
    neighbor: str = ""  # 10.244.2.0
    fdb: str = ""  # flannel.1: its entries, those towards `to` alone if given
    process: str = ""  # a pattern for pkill -f
    daemon: str = ""  # bird: killed, and started again by mend
    program: str = ""  # cilium_vxlan ingress: the eBPF program at a link's hook
    sysctl: str = ""  # net.ipv4.ip_forward, set to `value`
    rule: str = ""  # a part of the rule's text in iptables-save: every rule of `table` that has it
    on: str = ""
    to: str = ""
    value: str = ""
    table: str = "nat"
    SHORT: ClassVar = "link"

    @property
    def kind(self) -> str:
        return next((name for name in KINDS if getattr(self, name)), "")

    @property
    def what(self) -> str:
        where = f" on {self.on}" if self.on else ""
        towards = f" to {self.to}" if self.to else ""
        value = f" = {self.value}" if self.value else ""
        return f"{self.kind} {getattr(self, self.kind)}{towards}{value}{where}"

    def check(self, world: World) -> None:
        given = [name for name in KINDS if getattr(self, name)]
        if len(given) != 1:
            wanted = ", ".join(KINDS)
            raise Wrong(f"has {' and '.join(given) or 'nothing to break'}, must have exactly one of {wanted}")
        place, field = (self.link.partition(":")[0], "link") if self.link else (self.on, "on")
        if not place or (self.link and ":" not in self.link):
            raise Wrong("is missing" if not place else f"is {self.link}, must be PLACE:INTERFACE", field)
        if place != FABRIC_NETNS:
            world.where(place, field)
        if self.link:
            world.point(self.link, "link")
        if self.to:
            world.target(self.to, "to")
        if self.daemon:
            self._check_daemon(world)
        if self.program and self.program.split()[1:] not in (["ingress"], ["egress"]):
            raise Wrong(f"is {self.program}, must be LINK ingress or LINK egress", "program")
        if self.sysctl and not self.value:
            raise Wrong("is missing", "value")

    def _check_daemon(self, world: World) -> None:
        netns = world.plan.netns.get(self.on.removeprefix("node/"))
        names = [daemon.name for daemon in netns.daemons] if netns else []
        if self.daemon not in names:
            raise Wrong(f"is {self.daemon}, must be one of those of {self.on}: {', '.join(names) or 'none'}", "daemon")


def make(fault: Fault, lab: Lab) -> Undo:
    return KINDS[fault.kind](fault, lab)


def _link(fault: Fault, lab: Lab) -> Undo:
    """The other end of the pair goes down: the carrier is lost, and with it every packet, but addresses and routes
    stay, as when a cable is pulled."""
    place, _, ifname = fault.link.partition(":")
    where = FABRIC_NETNS if place == FABRIC_NETNS else lab.where(place)
    owner, name = _other_end(lab, where, ifname)
    lab.sure(owner, ["ip", "link", "set", name, "down"])
    return ((owner, ("ip", "link", "set", name, "up")),)


def _other_end(lab: Lab, where: str, ifname: str) -> tuple[str, str]:
    """(netns, interface) behind an uplink or a Pod's eth0; any other interface itself."""
    if where == FABRIC_NETNS or not ifname.startswith("eth"):
        return where, ifname
    owner = next((pod.spec.node_name for pod in lab.pods() if references.key(pod) == where), "")
    own = re.search(r"^(\d+): [^@:]+@if(\d+): ", lab.testbed.run(where, ["ip", "-o", "link", "show", ifname], 10).out)
    for other in (owner,) if owner else (FABRIC_NETNS, *lab.routers):
        shown = lab.testbed.run(other, ["ip", "-o", "link", "show"], 10).out if own else ""
        if own and (found := re.search(rf"^{own[2]}: ([^@:]+)@if{own[1]}: ", shown, re.M)):
            return other, found[1]
    return where, ifname


def _route(fault: Fault, lab: Lab) -> Undo:
    where = lab.where(fault.on)
    return _lines(lab, where, ["ip", "route", "show", fault.route], ["ip", "route", "del"], ["ip", "route", "add"])


def _ip_rule(fault: Fault, lab: Lab) -> Undo:
    where, undo = lab.where(fault.on), []
    for line in lab.sure(where, ["ip", "rule"]).splitlines():
        priority, _, text = line.partition(":")
        if fault.ip_rule in text:
            words = ("priority", priority, *text.split())
            lab.sure(where, ["ip", "rule", "del", *words])
            undo.append((where, ("ip", "rule", "add", *words)))
    if not undo:
        raise Failed(f"{fault.on} to have a rule of routing with {fault.ip_rule!r}", "none")
    return tuple(undo)


def _neighbor(fault: Fault, lab: Lab) -> Undo:
    """Permanent entries come back as they were; others the kernel learns again by itself."""
    where = lab.where(fault.on)
    shown = lab.sure(where, ["ip", "neigh", "show", fault.neighbor]).split()
    if "dev" not in shown:
        raise Failed(f"{fault.on} to have a neighbor {fault.neighbor}", "none")
    dev = shown[shown.index("dev") + 1]
    lab.sure(where, ["ip", "neigh", "del", fault.neighbor, "dev", dev])
    if "PERMANENT" not in shown:
        return ()
    mac = shown[shown.index("lladdr") + 1]
    return ((where, ("ip", "neigh", "replace", fault.neighbor, "lladdr", mac, "dev", dev, "nud", "permanent")),)


def _fdb(fault: Fault, lab: Lab) -> Undo:
    where = lab.where(fault.on)
    towards = lab.addresses(fault.to) if fault.to else ()
    shown = lab.sure(where, ["bridge", "fdb", "show", "dev", fault.fdb]).splitlines()
    found = [words for line in shown if (words := line.split()) and (not towards or {*towards} & {*words})]
    if not found:
        raise Failed(f"{fault.on} to have an FDB entry of {fault.fdb}{f' to {fault.to}' if towards else ''}", "none")
    undo = []
    for mac, *rest in found:
        key = [word for pair in pairwise(rest) if pair[0] in ("dst", "vlan") for word in pair]
        flags = [word for word in rest if word in ("self", "master")]
        lab.sure(where, ["bridge", "fdb", "del", mac, "dev", fault.fdb, *key, *flags])
        state = [word for word in rest if word in ("permanent", "static")]
        undo.append((where, ("bridge", "fdb", "append", mac, "dev", fault.fdb, *key, *flags, *state)))
    return tuple(undo)


def _process(fault: Fault, lab: Lab) -> Undo:
    """SIGKILL. What starts it again is its Pod's business."""
    where = lab.where(fault.on)
    if lab.run(where, ["pkill", "-KILL", "-f", fault.process]).status:
        raise Failed(f"a process {fault.process} in {fault.on}", "none")
    return ()


def _daemon(fault: Fault, lab: Lab) -> Undo:
    """SIGKILL: it takes no leave of anybody. Nothing starts it again but the repair of the whole plan."""
    where = lab.where(fault.on)
    if lab.run(where, ["pkill", "-KILL", "-x", fault.daemon]).status:
        raise Failed(f"the daemon {fault.daemon} on {fault.on}", "it does not run")
    return ()


def _program(fault: Fault, lab: Lab) -> Undo:
    """Its descriptor is the testbed's: mended by the repair of the whole plan."""
    where, (dev, hook) = lab.where(fault.on), fault.program.split()
    if not lab.sure(where, ["tc", "filter", "show", "dev", dev, hook]).strip():
        raise Failed(f"{fault.on} to have a program at {fault.program}", "none")
    lab.sure(where, ["tc", "filter", "del", "dev", dev, hook])
    return ()


def _sysctl(fault: Fault, lab: Lab) -> Undo:
    where = lab.where(fault.on)
    before = lab.sure(where, ["sysctl", "-n", fault.sysctl]).strip()
    lab.sure(where, ["sysctl", "-qw", f"{fault.sysctl}={fault.value}"])
    return ((where, ("sysctl", "-qw", f"{fault.sysctl}={before}")),)


def _rule(fault: Fault, lab: Lab) -> Undo:
    """Each goes back to the place in its chain that it had."""
    where, tool = lab.where(fault.on), f"iptables-{lab.iptables}"
    places: dict[str, int] = {}
    found: list[tuple[str, int, list[str]]] = []
    for line in lab.sure(where, [f"{tool}-save", "-t", fault.table]).splitlines():
        if not line.startswith("-A "):
            continue
        _, chain, *spec = shlex.split(line)
        places[chain] = places.get(chain, 0) + 1
        if fault.rule in line:
            found.append((chain, places[chain], spec))
    if not found:
        raise Failed(f"{fault.on} to have a rule with {fault.rule!r} in table {fault.table}", "none")
    for chain, place, _ in reversed(found):
        lab.sure(where, [tool, "-t", fault.table, "-D", chain, str(place)])
    return tuple((where, (tool, "-t", fault.table, "-I", chain, str(place), *spec)) for chain, place, spec in found)


def _lines(lab: Lab, where: str, show: list[str], delete: list[str], add: list[str]) -> Undo:
    """What `show` prints is what `add` and `del` take."""
    found = [line.split() for line in lab.sure(where, show).splitlines()]
    if not found:
        raise Failed(f"{' '.join(show)} to print something on {where}", "nothing")
    for words in found:
        lab.sure(where, [*delete, *words])
    return tuple((where, (*add, *words)) for words in found)


KINDS: Mapping[str, Callable[[Fault, Lab], Undo]] = {
    "link": _link,
    "route": _route,
    "ip_rule": _ip_rule,
    "neighbor": _neighbor,
    "fdb": _fdb,
    "process": _process,
    "daemon": _daemon,
    "program": _program,
    "sysctl": _sysctl,
    "rule": _rule,
}
