"""A plan as a script that a human can read and run, and each change of the kernel as a line one can paste."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterator
from typing import Any

from emu.netfilter import sets
from emu.netfilter import text as rules_text
from emu.netfilter.model import IpSet, Table
from emu.plan import diff, ebpf, ipvs, render_ebpf, subnet
from emu.plan.attachment import Attachment
from emu.plan.ebpf import MapEntry, SocketProgram
from emu.plan.ipvs import RealServer, VirtualService
from emu.plan.model import (
    Address,
    Daemon,
    FdbEntry,
    File,
    IpipBy,
    Link,
    Neighbor,
    NetnsPlan,
    Plan,
    PolicyRule,
    Refusal,
    Role,
    Route,
    Sysctl,
    TcProgram,
    Vxlan,
)
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort

MAIN_TABLE = 254


def command(netns: str, change: object, *, remove: bool = False, exists: bool = False) -> str:
    """One value, one line: `node1# ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink`.
    `exists`: the link is there already and only its settings are meant."""
    return f"{netns}# {line(netns, change, remove=remove, exists=exists)}"


def line(netns: str, change: object, *, remove: bool = False, exists: bool = False) -> str:
    """The same without the prompt, to be run inside the netns."""
    match change:
        case NetnsPlan():
            return f"ip netns {'del' if remove else 'add'} {change.name}"
        case Link():
            return f"ip link del {change.name}" if remove else " && ".join(_link(netns, change, exists))
        case Address():
            bare = "" if change.prefix_route or remove else " noprefixroute"
            return f"ip address {'del' if remove else 'add'} {change.address} dev {change.dev}{bare}"
        case Route():
            return f"ip route {'del' if remove else 'replace'} {route(change)}"
        case Refusal():
            return f"ip route replace {route(change.route)} || true  # {change.error}: {change.why}"
        case PolicyRule():
            return f"ip rule {'del' if remove else 'add'} {policy_rule(change)}"
        case Neighbor():
            return f"ip neigh {'del' if remove else 'replace'} {_neighbor(change, remove)}"
        case FdbEntry():
            return f"bridge fdb {'del' if remove else 'replace'} {fdb(change)}"
        case Sysctl():
            return f"sysctl -w {change.key}={shlex.quote(change.value)}"
        case IpSet():
            return f"ipset destroy {change.name}" if remove else " && ".join(_set(change))
        case TcProgram():
            return render_ebpf.tc_filter(netns, change, remove=remove)
        case SocketProgram():
            return render_ebpf.attached(change, remove=remove)
        case MapEntry():
            return render_ebpf.map_entry(netns, change, remove=remove)
        case VirtualService() | RealServer():
            return ipvs.command(change, remove=remove, exists=exists)
        case Subnet() | SubnetPort() | SubnetAddress():
            return subnet.command(change, remove=remove)
        case Table():
            return f"{restore_tool(change.family)} --table={change.name}"
        case Daemon():
            return f"pkill -x {change.name}" if remove else f"{shlex.join(change.argv)} &"
    raise TypeError(type(change))


def makes_pair(netns: str, link: Link) -> bool:
    """Both ends of a veth stand in a plan; True for the end whose command makes the pair."""
    if link.peer is None or link.role in (Role.POD_ETH, Role.UPLINK):
        return False
    return link.peer[0] != netns or link.name < link.peer[1]


def route(value: Route) -> str:
    """As `ip route` prints it."""
    kind = f"{value.type} " if value.type != "unicast" else ""
    parts = [f"{kind}{_destination(value)}"]
    parts += [f"via {value.via}"] if value.via else []
    parts += [f"dev {value.dev}"] if value.dev else []
    parts += [f"table {value.table}"] if value.table != MAIN_TABLE else []
    parts += [f"proto {value.protocol}"] if value.protocol not in ("", "boot") else []
    parts += [f"scope {value.scope}"] if value.scope != "global" else []
    parts += [f"src {value.src}"] if value.src else []
    parts += [f"metric {value.metric}"] if value.metric else []
    parts += [f"mtu {value.mtu}"] if value.mtu else []
    parts += ["onlink"] if value.onlink else []
    return " ".join(parts)


def policy_rule(value: PolicyRule) -> str:
    mark = f"fwmark {value.fwmark:#x}/{value.fwmask:#x}" if value.fwmask else ""
    parts = (
        f"priority {value.priority}",
        f"from {value.src or 'all'}",
        f"to {value.dst}" if value.dst else "",
        mark,
        f"iif {value.iif}" if value.iif else "",
        f"lookup {'main' if value.table == MAIN_TABLE else value.table}",
    )
    return " ".join(part for part in parts if part)


def neighbor(value: Neighbor) -> str:
    """As `ip neigh` prints it."""
    return f"{value.address} dev {value.dev} lladdr {value.mac} PERMANENT"


def fdb(value: FdbEntry) -> str:
    """As `bridge fdb` prints it."""
    return f"{value.mac} dev {value.dev} dst {value.dst} self permanent"


def restore_tool(family: int, variant: str = "nft") -> str:
    return f"ip{'6' if family == 6 else ''}tables-{variant}-restore"


def render(plan: Plan) -> str:
    """A bash script that builds the plan's networks in namespaces of the machine it is run on."""
    return "\n".join(_script(plan)) + "\n"


def _script(plan: Plan) -> Iterator[str]:
    yield "#!/bin/bash"
    yield f"# {plan.name}: what `emu up` brings about, as commands. Run it as root, in a network namespace of its own."
    yield from (f"# note: {note}" for note in plan.notes)
    yield "set -euo pipefail"
    changes = diff.diff(None, plan).netns
    yield "\n# namespaces"
    yield from (f"ip netns add {change.name}" for change in changes)
    # Fabric, nodes, Pods: a veth pair is made by its end that comes first here.
    for change in changes:
        assert change.new is not None
        yield f"\n# {change.new.kind} {change.new.owner}"
        yield f"ip -n {change.name} link set lo up"
        rest = (value for value in change.added if not isinstance(value, TcProgram | SocketProgram | MapEntry))
        yield from (_inside(change.name, each) for value in rest for each in _lines(change.name, value))
        yield from render_ebpf.script(change.name, change.new.programs, change.new.maps)
        yield from (_heredoc(change.name, table, plan.iptables) for _, table in change.tables if table)
        yield from (_daemon(change.name, daemon) for _, daemon in change.daemons if daemon)
        yield from (f"# {each.by} brings {route(each.route)}" for each in change.new.expected)
        if change.new.foreign:
            by = f"# by the plugins of {change.new.foreign.by}"
            yield from (f"{by}: {text}" for each in change.new.foreign.values() for text in _lines(change.name, each))
        if change.new.attachment:
            yield from _attachment(change.new.attachment)
        if change.new.pod:
            yield from _processes(change.new)
    yield from render_ebpf.sockets(plan)


def _lines(netns: str, value: object) -> list[str]:
    match value:
        case Link():
            return _link(netns, value, False)
        case IpSet():
            return _set(value)
    return [line(netns, value)]


def _set(value: IpSet) -> list[str]:
    return [f"ipset {text}" for text in sets.delta(None, value).splitlines()]


def _inside(netns: str, text: str) -> str:
    if text.startswith("ip -n "):  # in another netns
        return text
    for tool in ("ip ", "bridge "):
        if text.startswith(tool):
            return f"{tool}-n {netns} {text[len(tool) :]}"
    return f"ip netns exec {netns} {text}"


def _heredoc(netns: str, table: Table, variant: str) -> str:
    rules = rules_text.restore(table).rstrip()
    return f"ip netns exec {netns} {restore_tool(table.family, variant)} <<'EOF'\n{rules}\nEOF"


def _daemon(netns: str, daemon: Daemon) -> str:
    """In a mount namespace with a /run of its own, its files written there first."""
    text = "".join(
        ("mount -t tmpfs tmpfs /run\n", *map(_written, daemon.files), f"exec {shlex.join(daemon.argv)}"),
    )
    return f"ip netns exec {netns} unshare --mount bash <<'DAEMON' &\n{text}\nDAEMON"


def _written(file: File) -> str:
    return f"mkdir -p {posixpath.dirname(file.path)} && cat >{file.path} <<'EOF'\n{file.text}EOF\n"


def _attachment(value: Attachment) -> Iterator[str]:
    network, kinds = value.network, [json.loads(plugin)["type"] for plugin in value.network.plugins]
    yield f"# in {value.node}, for {value.ifname}: CNI ADD of {', '.join(kinds)} (network {network.name})"
    yield f"#   CNI_CONTAINERID={value.container_id} CNI_PATH={':'.join(network.paths)}"
    yield f"#   CNI_ARGS={';'.join(f'{key}={text}' for key, text in value.args)}"
    yield from (f"#   {plugin}" for plugin in network.plugins)
    yield from (f"#   capability {name}: {text}" for name, text in value.capabilities)


def _processes(plan: NetnsPlan) -> Iterator[str]:
    assert plan.pod is not None
    for process in plan.pod.processes:
        what = f"serve {process.program.serve}" if process.program.serve else shlex.join(process.program.argv)
        yield f"# {'init ' if process.init else ''}container {process.container.name}: {what}"


def _link(netns: str, link: Link, exists: bool) -> list[str]:
    settings = _settings(link)
    port = [f"master {link.master}"] if link.master else []
    port += ["arp off"] if link.noarp else []
    state = ["up" if link.up else "down"]
    if link.ipip:
        commands = _ipip(link, [*settings, *state], exists)
    elif exists or (link.kind == "veth" and not makes_pair(netns, link)):
        commands = [f"ip link set {link.name} {' '.join(settings + port + state)}"]
    elif link.vxlan and link.vxlan.socket:
        made = f"ip -n {link.vxlan.socket} {moved(netns, link).removeprefix('ip ')}"
        commands = [made, f"ip link set {link.name} {' '.join(port + state)}"]
    else:
        made = f"ip link add {link.name} {' '.join(settings)} type {link.kind}{_options(link)}"
        commands = [made, f"ip link set {link.name} {' '.join(port + state)}"]
    if link.hairpin:
        commands.append(f"bridge link set dev {link.name} hairpin on")
    return commands


def _settings(link: Link) -> list[str]:
    settings = [f"mtu {link.mtu}"] + ([f"address {link.mac}"] if link.mac else [])
    settings += [f"txqueuelen {link.qlen}"] if link.qlen != Link.__dataclass_fields__["qlen"].default else []
    return settings


def moved(netns: str, link: Link) -> str:
    """What makes a tunnel for `netns` in the one that keeps its socket."""
    return f"ip link add {link.name} netns {netns} {' '.join(_settings(link))} type {link.kind}{_options(link)}"


def _ipip(link: Link, settings: list[str], exists: bool) -> list[str]:
    """The module puts a tunl0 into every netns: adding it fails, and that is as well. A TUN device differs from it in a
    few settings."""
    if exists:
        return [f"ip link set {link.name} {' '.join(settings)}"]
    if link.ipip and link.ipip.by is IpipBy.MODULE:
        made, more = f"ip link add {link.name} type ipip 2>/dev/null || true", ""
    else:
        made, more = f"ip tuntap add dev {link.name} mode tun", f"txqueuelen {link.qlen} multicast off "
    return [made, f"ip link set {link.name} {more}{' '.join(settings)}"]


def _options(link: Link) -> str:
    if link.peer is not None:
        netns, name = link.peer
        return f" peer name {name} netns {netns}"
    return f" {vxlan(link.vxlan)}" if link.vxlan else ""


def vxlan(value: Vxlan) -> str:
    """As `ip -d link` prints it, behind the word vxlan."""
    if value.external:
        return f"external dstport {value.port}"
    parts = [f"id {value.vni}"]
    parts += [f"local {value.local}"] if value.local else []
    parts += [f"dev {value.dev}"] if value.dev else []
    parts += [f"dstport {value.port}"]
    parts += [] if value.learning else ["nolearning"]
    parts += ["proxy"] if value.proxy else []
    parts += ["l2miss", "l3miss"] if value.misses else []
    return " ".join(parts)


def _neighbor(value: Neighbor, remove: bool) -> str:
    return (
        f"{value.address} dev {value.dev}"
        if remove
        else f"{value.address} lladdr {value.mac} dev {value.dev} nud permanent"
    )


def _destination(value: Route) -> str:
    if value.dst.prefixlen == 0:
        return "default"
    return str(value.dst.network_address) if value.dst.prefixlen == value.dst.max_prefixlen else str(value.dst)


def value_text(value: Any) -> str:
    """One value, as the tool that lists it prints it."""
    match value:
        case Route():
            return route(value)
        case Neighbor():
            return neighbor(value)
        case FdbEntry():
            return fdb(value)
        case Address():
            return f"{value.address} dev {value.dev}{'' if value.prefix_route else ' noprefixroute'}"
        case Sysctl():
            return f"{value.key} = {value.value}"
        case PolicyRule():
            return policy_rule(value)
        case TcProgram():
            return render_ebpf.listed(value)
        case SocketProgram():
            return f"{value.hook} {value.name}"
        case MapEntry():
            return ebpf.value_text(value.map, value.value)
        case Link():
            return _link("", value, True)[0].removeprefix("ip link set ")
        case IpSet():
            return f"{value.type} {', '.join(sorted(value.members)) or 'without members'}"
    return str(value)
