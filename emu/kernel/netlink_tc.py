"""rtnetlink messages for eBPF at tc: the clsact hook of a link, and direct-action filters in it.
Source: linux/rtnetlink.h, pkt_sched.h, pkt_cls.h."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from emu.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Connection,
    Request,
    attr_text,
    attr_u32,
    attributes,
    nested,
)

RTM_NEWQDISC, RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 36, 44, 45, 46
ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_TAG, _BPF_ID = 6, 7, 8, 10, 11
_DIRECT_ACTION = 1
_TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
PRIORITY, HANDLE = 1, 1


def clsact(index: int) -> Request:
    """`tc qdisc replace dev … clsact`"""
    body = _TCMSG.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0) + attr_text(_TCA_KIND, "clsact")
    return Request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body)


def bpf(index: int, where: int, protocol: int, program: int, name: str) -> Request:
    """`tc filter replace dev … egress prio 1 handle 1 protocol all bpf direct-action …`"""
    options = (attr_u32(_BPF_FD, program), attr_text(_BPF_NAME, name), attr_u32(_BPF_FLAGS, _DIRECT_ACTION))
    body = _filter(index, where, protocol) + attr_text(_TCA_KIND, "bpf") + nested(_TCA_OPTIONS, *options)
    return Request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, body)


def delete(index: int, where: int, protocol: int) -> Request:
    return Request(RTM_DELTFILTER, 0, _filter(index, where, protocol) + attr_text(_TCA_KIND, "bpf"))


def _filter(index: int, where: int, protocol: int) -> bytes:
    info = PRIORITY << 16 | struct.unpack("=H", struct.pack("!H", protocol))[0]
    return _TCMSG.pack(0, index, HANDLE, where, info)


@dataclass(frozen=True, slots=True)
class Filter:
    """An eBPF filter that is there. `str()` is as `tc filter show` prints it."""

    protocol: int
    priority: int
    handle: int
    name: str
    id: int
    tag: str

    def __str__(self) -> str:
        protocol = {ETH_P_ALL: "all", ETH_P_IP: "ip"}.get(self.protocol, str(self.protocol))
        head = f"filter protocol {protocol} pref {self.priority} bpf chain 0 handle {self.handle:#x}"
        return f"{head} {self.name} direct-action not_in_hw id {self.id} tag {self.tag}"


def filters(connection: Connection, index: int, where: int) -> Iterator[Filter]:
    """None where the link has no clsact hook."""
    for body in connection.dump(RTM_GETTFILTER, _TCMSG.pack(0, index, 0, where, 0)):
        *_, handle, _, info = _TCMSG.unpack_from(body)
        options = attributes(attributes(body[_TCMSG.size :]).get(_TCA_OPTIONS, b""))
        if _BPF_NAME in options and handle:
            yield Filter(
                protocol=struct.unpack("!H", struct.pack("=H", info & 0xFFFF))[0],
                priority=info >> 16,
                handle=handle,
                name=options[_BPF_NAME].rstrip(b"\0").decode(),
                id=int(struct.unpack("=I", options.get(_BPF_ID, bytes(4)))[0]),
                tag=options.get(_BPF_TAG, b"").hex(),
            )
