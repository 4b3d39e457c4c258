"""eBPF programs of a plan at the links of a namespace, and the TUN devices that stand for a tunnel.

The filter keeps its program, the link its filters, the namespace its links: nothing is left to clean up."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby

from emu.errors import KernelError, NotPermitted
from emu.kernel import maps, netlink_links, netlink_tc, netns, sockets, tun
from emu.kernel.bpf import compiled
from emu.kernel.bpf.load import loaded
from emu.kernel.handle import Act, Handle
from emu.kernel.netlink import Request
from emu.plan import render
from emu.plan.ebpf import SocketProgram
from emu.plan.model import Changes, IpipBy, Link, TcProgram

WHERE = {"ingress": netlink_tc.INGRESS, "egress": netlink_tc.EGRESS}
PROTOCOLS = {"all": netlink_tc.ETH_P_ALL, "ip": netlink_tc.ETH_P_IP}
MODULE = "/sys/module/ipip"
DROP = "drop"  # the program, and its file
ROOT = "run emu as root"
_REFUSALS = {
    "ipip": (
        "tunl0: the ipip module is not loaded, and an ordinary user may load no eBPF programs in its place",
        "sudo modprobe ipip, or run emu as root",
    ),
    "cilium": ("cni cilium is made of eBPF programs, and an ordinary user may load none", ROOT),
}


def check(changes: Changes) -> None:
    """Before the first effect: may this user load programs? Raises HostError."""
    added = [value for change in changes.netns for value in change.added]
    wanted = next((value for value in added if isinstance(value, TcProgram | SocketProgram)), None)
    if wanted:
        try:
            with loaded(DROP):
                pass
        except NotPermitted as error:
            what, hint = _REFUSALS.get(
                wanted.file, (f"{wanted.name}: an ordinary user may load no eBPF programs", ROOT)
            )
            raise NotPermitted(what, hint=hint) from error
    if any(isinstance(value, SocketProgram) for value in added):
        os.close(sockets.cgroup())


def has_module() -> bool:
    """Whether the ipip module is loaded, or built in: then every namespace is born with a tunl0. Looked up, not tried:
    asking the kernel for a link of that kind would load it."""
    return os.path.exists(MODULE)


def ipip() -> str:
    """For `emu doctor`: how a tunl0 is realised here. Raises HostError."""
    if has_module():
        return "by the kernel's ipip module"
    with loaded(DROP), loaded("ipip"):
        compiler = "" if all(compiled.cached(name).exists() for name in compiled.SOURCES) else ", compiled when needed"
        return f"by eBPF at tc{compiler}: the ipip module is not loaded"


def datapath() -> str:
    """For `emu doctor`: whether the programs of cni: cilium can be had. Raises HostError."""
    with loaded("cilium"), loaded("cilium_sock"):
        os.close(sockets.cgroup())
        return "programs at tc and at sockets, which are attached to the cgroup the testbed runs in"


def attach(handle: Handle, programs: Sequence[TcProgram]) -> None:
    """Replaces what is there in the same place. A file with a `config` is loaded for this alone; of others the maps are
    kept, and it is loaded once."""
    source: Callable[[TcProgram], tuple[str, str]] = lambda program: (program.file, str(program.config))  # noqa: E731
    for _, group in groupby(sorted(programs, key=source), source):
        together = list(group)
        first = together[0]
        with loaded(first.file) if first.config else nullcontext(maps.held(handle, first.file)) as object_:
            if first.config:
                object_.configure(b"".join(_config(handle, first)))
            hooks = {program.dev: _index(handle, program) for program in together}
            acts = [Act(netlink_tc.clsact(index), f"tc qdisc replace dev {dev} clsact") for dev, index in hooks.items()]
            handle.execute([*acts, *(Act(_filter(hooks, each, object_.fd(each.name)), each) for each in together)])


def removal(handle: Handle, program: TcProgram) -> Request:
    """KeyError when its link is gone."""
    return netlink_tc.delete(handle.indexes[program.dev], WHERE[program.where], PROTOCOLS[program.protocol])


def there(handle: Handle, planned: Sequence[TcProgram | SocketProgram]) -> Iterator[TcProgram]:
    """What is at the planned places of links, as planned but for its name, if that differs."""
    for program in planned:
        if isinstance(program, SocketProgram) or program.dev not in handle.indexes:
            continue
        for found in netlink_tc.filters(handle.connection, handle.indexes[program.dev], WHERE[program.where]):
            same = found.name == program.name
            yield program if same else TcProgram(dev=program.dev, where=program.where, file="", name=found.name)
            break


def tunnel(handle: Handle, link: Link) -> None:
    """A TUN device that drops what it is given. One that was deleted comes back with its index: programs know it."""
    name, old = link.name, handle.tuns.pop(link.name, None)
    index = handle.allot(name)
    if old is not None:
        os.close(old[0])
        index = handle.indexes[name] = old[1]
    try:
        with netns.entered(handle.netns):
            fd = tun.create(name, index)
    except Exception:
        handle.forget([name])
        raise
    handle.tuns[name] = (fd, index)
    with loaded(DROP) as object_:
        tun.drop_all(fd, object_.fd(DROP))


def is_tun(link: Link) -> bool:
    return link.ipip is not None and link.ipip.by is IpipBy.EBPF


def settings(link: Link, index: int) -> Act:
    """What the module gives its tunl0 and TUN gives others: a queue of 500, multicast."""
    return Act(netlink_links.tun(link, index), link)


def _config(handle: Handle, program: TcProgram) -> Iterator[bytes]:
    for each in program.config:
        yield struct.pack("=I", _link(handle, program, each)) if isinstance(each, str) else each.packed


def _index(handle: Handle, program: TcProgram) -> int:
    return _link(handle, program, program.dev)


def _link(handle: Handle, program: TcProgram, name: str) -> int:
    if name not in handle.indexes:
        raise KernelError(f"{render.command(handle.netns.name, program)} : there is no link {name}")
    return handle.indexes[name]


def _filter(indexes: Mapping[str, int], program: TcProgram, fd: int) -> Request:
    where, protocol = WHERE[program.where], PROTOCOLS[program.protocol]
    return netlink_tc.bpf(indexes[program.dev], where, protocol, fd, program.name)
