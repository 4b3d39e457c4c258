"""eBPF at tc as commands: what bpftool loads and pins, and tc puts at a link's clsact hook. The testbed does the same
through libbpf and netlink, and pins nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from emu.plan.model import TcProgram

PINS = "/run/bpf"  # not /sys/fs/bpf: `ip netns exec` mounts /sys afresh, and hides what is there
OBJECTS = "emu/kernel/bpf/build/{}.*.o"  # below the directory of kube-emu


def tc_filter(netns: str, program: TcProgram, *, remove: bool = False) -> str:
    hook = f"dev {program.dev} {program.where} prio 1 handle 1 protocol {program.protocol} bpf"
    if remove:
        return f"tc filter del {hook}"
    return f"tc filter replace {hook} direct-action object-pinned {_pin(netns, program.file)}/{program.name}"


def listed(program: TcProgram) -> str:
    """As `tc filter show` prints it, but for numbers."""
    return f"filter protocol {program.protocol} pref 1 bpf chain 0 handle 0x1 {program.name} direct-action"


def script(netns: str, programs: Iterable[TcProgram]) -> Iterator[str]:
    """Lines to be run outside the netns: what is mounted within `ip netns exec` is seen nowhere else."""
    inside = f"ip netns exec {netns}"
    loaded: set[str] = set()
    for program in programs:
        pin = _pin(netns, program.file)
        if program.file not in loaded:
            loaded.add(program.file)
            yield f"mkdir -p {PINS}; mountpoint -q {PINS} || mount -t bpf bpf {PINS}; mkdir -p {pin}"
            yield f"bpftool prog loadall {OBJECTS.format(program.file)} {pin} pinmaps {pin}"
            written = f"bpftool map update pinned {pin}/config key 0 0 0 0 value {_bytes(program)}"
            yield f"{inside} sh -c {shlex.quote(written)}"
        yield f"{inside} tc qdisc replace dev {program.dev} clsact"
        yield f"{inside} {tc_filter(netns, program)}"


def _pin(netns: str, file: str) -> str:
    return f"{PINS}/{netns}-{file}"


def _bytes(program: TcProgram) -> str:
    """Little-endian, as bpftool takes them: a byte is enough for a link's index."""
    words = (
        f"$(cat /sys/class/net/{each}/ifindex) 0 0 0" if isinstance(each, str) else " ".join(str(each).split("."))
        for each in program.config
    )
    return " ".join(words)
