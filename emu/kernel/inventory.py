"""The machines of the Mininet prompt as values: Nodes, Pods and switches of a plan, and how to enter each.

Names at the prompt: a Node's and a switch's own; a Pod's own if no other machine has it, else `NAMESPACE.NAME`.
`NAMESPACE.NAME` and `NAMESPACE/NAME` are understood always.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from emu.kernel import process
from emu.plan.model import Link, NetnsKind, NetnsPlan, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceInfo:
    """`address` with its prefix length, "" if it has none; `peer` is (machine, interface) at the other end."""

    name: str
    mac: str = ""
    address: str = ""
    peer: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineInfo:
    """`netns` is the path of its network namespace ("": the lab's own, where the switches are). `pid`, if not 0, is
    the first process of a Pod, or of a Node with daemons: mount, UTS, PID and IPC namespaces are entered too."""

    name: str
    netns: str = ""
    pid: int = 0
    switch: bool = False
    aliases: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    interfaces: tuple[InterfaceInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrances:
    """What a plan does not say: the path of a netns by name, the first process (0: none yet) and the environment of a
    Pod by namespace and name; of a Node, whose namespace is "", if it has daemons."""

    path: Callable[[str], str]
    pid: Callable[[str, str], int]
    env: Callable[[str, str], Mapping[str, str]]


def of_plan(plan: Plan, entrances: Entrances) -> dict[str, MachineInfo]:
    names = _names(plan)
    found = (machine for netns in plan.netns.values() for machine in _machines(plan, netns, names, entrances))
    return {machine.name: machine for machine in found}


def _names(plan: Plan) -> dict[str, str]:
    """Netns name → prompt name."""
    taken = Counter(netns.name for netns in plan.netns.values() if netns.kind is not NetnsKind.POD)
    taken.update(switch.name for netns in plan.netns.values() for switch in _switches(netns))
    taken.update(netns.pod.name for netns in plan.netns.values() if netns.pod)
    return {
        netns.name: netns.pod.name if netns.pod and taken[netns.pod.name] == 1 else netns.name
        for netns in plan.netns.values()
    }


def _switches(netns: NetnsPlan) -> list[Link]:
    return [link for link in netns.links if netns.kind is NetnsKind.FABRIC and link.kind == "bridge"]


def _machines(plan: Plan, netns: NetnsPlan, names: Mapping[str, str], entrances: Entrances) -> Iterator[MachineInfo]:
    for switch in _switches(netns):
        ports = tuple(_interface(plan, netns, link, names) for link in netns.links if link.master == switch.name)
        yield MachineInfo(name=switch.name, switch=True, interfaces=ports)
    if netns.kind is NetnsKind.FABRIC:
        return
    pod = netns.pod
    yield MachineInfo(
        name=names[netns.name],
        netns=entrances.path(netns.name),
        pid=entrances.pid(pod.namespace, pod.name) if pod else entrances.pid("", netns.name),
        aliases=(f"{pod.namespace}.{pod.name}", f"{pod.namespace}/{pod.name}") if pod else (),
        env=dict(entrances.env(pod.namespace, pod.name)) if pod else {},
        interfaces=tuple(_interface(plan, netns, link, names) for link in netns.links),
    )


def _interface(plan: Plan, netns: NetnsPlan, link: Link, names: Mapping[str, str]) -> InterfaceInfo:
    address = next((str(each.address) for each in netns.addresses if each.dev == link.name), "")
    peer = None
    if link.peer and (there := plan.netns.get(link.peer[0])):
        end = there.link(link.peer[1])
        holder = end.master if end and there.kind is NetnsKind.FABRIC else names[there.name]
        peer = (holder, link.peer[1])
    return InterfaceInfo(name=link.name, mac=link.mac, address=address, peer=peer)


def command(machines: Mapping[str, MachineInfo], script: str | None = None) -> tuple[list[str], dict[str, str]]:
    """Program and environment of a process that is the prompt: to be spawned in the lab, on a terminal for people.
    Not in the testbed's own process: Mininet waits for its children itself."""
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="prompt-", delete=False, encoding="utf-8") as file:
        json.dump({"machines": [asdict(machine) for machine in machines.values()], "script": script}, file)
    paths = os.pathsep.join(path for path in sys.path if path)
    env = {**process.ENVIRONMENT, "HOME": "/root", "TERM": os.environ.get("TERM", "dumb"), "PYTHONPATH": paths}
    return [sys.executable, "-m", "emu.kernel.machines", file.name], env


def read(path: Path) -> tuple[dict[str, MachineInfo], str | None]:
    """What `command` has written; the file is taken away."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    machines = [
        MachineInfo(**{**machine, "interfaces": tuple(InterfaceInfo(**each) for each in machine["interfaces"])})
        for machine in content["machines"]
    ]
    return {machine.name: machine for machine in machines}, content["script"]
