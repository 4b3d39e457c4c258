"""eBPF as commands: what bpftool loads, pins and writes into maps, and tc puts at a link's clsact hook. The testbed
does the same through libbpf and netlink, and pins nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from emu.plan import ebpf
from emu.plan.ebpf import LAYOUTS, Fields, MapEntry, SocketProgram, Value
from emu.plan.model import Plan, TcProgram

PINS = "/run/bpf"  # not /sys/fs/bpf: `ip netns exec` mounts /sys afresh, and hides what is there
OBJECTS = "emu/kernel/bpf/build/{}.*.o"  # below the directory of kube-emu
CGROUP = "$(findmnt -nt cgroup2 -o TARGET | tail -1)$(sed -n s/^0:://p /proc/self/cgroup)"
COOKIE = "import socket; print(*socket.socket().getsockopt(1, 71, 8))"  # SOL_SOCKET, SO_NETNS_COOKIE


def tc_filter(netns: str, program: TcProgram, *, remove: bool = False) -> str:
    hook = f"dev {program.dev} {program.where} prio 1 handle 1 protocol {program.protocol} bpf"
    if remove:
        return f"tc filter del {hook}"
    return f"tc filter replace {hook} direct-action object-pinned {_pin(netns, program.file)}/{program.name}"


def listed(program: TcProgram) -> str:
    """As `tc filter show` prints it, but for numbers."""
    return f"filter protocol {program.protocol} pref 1 bpf chain 0 handle 0x1 {program.name} direct-action"


def attached(program: SocketProgram, *, remove: bool = False) -> str:
    verb, how = ("detach", "") if remove else ("attach", " multi")
    return f'bpftool cgroup {verb} "$CGROUP" {program.hook} pinned {_pin("", program.file)}/{program.name}{how}'


def map_entry(netns: str, entry: MapEntry, *, remove: bool = False, number: int = 0) -> str:
    """`number`: the Node's, where one map is for all."""
    layout = LAYOUTS[entry.map]
    key = _bytes(layout.key, entry.key)
    if layout.of_lab:
        key = f"{_bytes((('node', 'u32'),), (number,))} {key}"
    where = f"pinned {_pin('' if layout.of_lab else netns, layout.file)}/{entry.map} key {key}"
    if remove:
        return f"bpftool map delete {where}"
    return f"bpftool map update {where} value {_bytes(layout.value, entry.value)}  # {ebpf.text(entry)}"


def script(netns: str, programs: Iterable[TcProgram | SocketProgram], maps: Sequence[MapEntry]) -> Iterator[str]:
    """Lines to be run outside the netns: what is mounted within `ip netns exec` is seen nowhere else."""
    inside = f"ip netns exec {netns}"
    loaded: set[str] = set()
    for program in programs:
        if isinstance(program, SocketProgram):
            continue
        if program.file not in loaded:
            loaded.add(program.file)
            yield from _load(netns, program.file)
            written = [map_entry(netns, each) for each in maps if LAYOUTS[each.map].file == program.file]
            if program.config:
                value = " ".join(map(_word, program.config))
                written = [f"bpftool map update pinned {_pin(netns, program.file)}/config key 0 0 0 0 value {value}"]
            yield from (f"{inside} sh -c {shlex.quote(each)}" for each in written)
        yield f"{inside} tc qdisc replace dev {program.dev} clsact"
        yield f"{inside} {tc_filter(netns, program)}"


def sockets(plan: Plan) -> Iterator[str]:
    """What is one for all Nodes: programs at sockets, the maps they read, and who is whose."""
    nodes = {
        name: [each for each in netns.programs if isinstance(each, SocketProgram)] for name, netns in plan.netns.items()
    }
    nodes = {name: programs for name, programs in nodes.items() if programs}
    numbers = {name: number for number, name in enumerate(nodes, 1)}
    programs = list(dict.fromkeys(each for every in nodes.values() for each in every))
    for file in dict.fromkeys(each.file for each in programs):
        yield "\n# Services at the socket, on all Nodes"
        yield from _load("", file)
    for name, netns in plan.netns.items():
        node = name if name in numbers else netns.pod.node if netns.pod else ""
        if node in numbers:
            key = f"$(ip netns exec {name} python3 -c {shlex.quote(COOKIE)})"
            pin = f"{_pin('', programs[0].file)}/netns_nodes"
            yield f"bpftool map update pinned {pin} key {key} value {numbers[node]} 0 0 0"
        for each in netns.maps:
            if LAYOUTS[each.map].of_lab:
                yield map_entry(name, each, number=numbers[node])
    if programs:
        yield f"CGROUP={CGROUP}"
        yield "# Unlike all else here these stay until they are detached, on all that runs in this cgroup:"
        yield from (f"# {attached(each, remove=True)}" for each in programs)
    yield from map(attached, programs)


def _load(netns: str, file: str) -> Iterator[str]:
    pin = _pin(netns, file)
    yield f"mkdir -p {PINS}; mountpoint -q {PINS} || mount -t bpf bpf {PINS}; mkdir -p {pin}"
    yield f"bpftool prog loadall {OBJECTS.format(file)} {pin} pinmaps {pin}"


def _pin(netns: str, file: str) -> str:
    return f"{PINS}/{netns}-{file}" if netns else f"{PINS}/{file}"


def _bytes(fields: Fields, values: tuple[Value, ...]) -> str:
    """Little-endian, as bpftool takes them."""
    given, words = iter(values), []
    for name, kind in fields:
        value = None if kind.startswith("pad") else next(given)
        if kind == "link" and value:
            words.append(_word(str(value)))
        else:
            words += map(str, ebpf.pack(((name, kind),), () if value is None else (value,), {}))
    return " ".join(words)


def _word(value: object) -> str:
    """A byte is enough for a link's index."""
    if isinstance(value, str):
        return f"$(cat /sys/class/net/{value}/ifindex) 0 0 0"
    return " ".join(str(value).split("."))
