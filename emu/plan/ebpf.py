"""eBPF programs and maps of a plan as values, and how the entries of maps lie in memory.

An entry names links, addresses and numbers; `pack` makes of it what emu/kernel/bpf/*.c declares, `unpack` the reverse.
Names of maps and fields are Cilium's (pkg/maps, bpf/lib/common.h); IPv4 alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

Value = str | int | IPv4Address | IPv4Network
Fields = tuple[tuple[str, str], ...]  # (name, kind in _KINDS)

PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 132: "SCTP"}
NUMBERS = {name: number for number, name in PROTOCOLS.items()}
IN, RELATED = 1, 2  # flags of a tuple: to the Pod; ICMP errors of a connection


@dataclass(frozen=True, slots=True, kw_only=True)
class TcProgram:
    """An eBPF program at a link's clsact hook: `name` of the file `emu/kernel/bpf/FILE.c`, for packets of `protocol`
    (all, ip). `config` is the one entry of its map: a link stands for its index."""

    dev: str
    where: str  # ingress, egress
    file: str
    name: str
    protocol: str = "all"
    config: tuple[str | IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketProgram:
    """An eBPF program at a socket call (`hook`: connect4, sendmsg4 …) of all processes of a Node and its Pods: `name`
    of the file `emu/kernel/bpf/FILE.c`."""

    hook: str
    file: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MapEntry:
    """An entry of the map `map` of a Node, as `LAYOUTS` has it: a link stands for its index."""

    map: str
    key: tuple[Value, ...]
    value: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`file`: the program it is declared in. `of_lab`: there is one map for all Nodes, whose keys begin with the Node's
    number."""

    file: str
    key: Fields
    value: Fields
    of_lab: bool = False
    planned: bool = True  # False: the programs write it

    @property
    def key_bytes(self) -> int:
        return _size(self.key) + (4 if self.of_lab else 0)

    @property
    def value_bytes(self) -> int:
        return _size(self.value)


_TUPLE: Fields = (
    ("src", "ip"),
    ("dst", "ip"),
    ("sport", "port"),
    ("dport", "port"),
    ("proto", "proto"),
    ("flags", "u8"),
    ("", "pad2"),
)

LAYOUTS: Mapping[str, Layout] = {
    "cilium_config": Layout(
        file="cilium",
        key=(("entry", "u32"),),
        value=(
            ("overlay", "link"),
            ("host", "link"),
            ("node", "ip"),
            ("native", "mask"),
            ("hostmac", "mac"),
            ("overlaymac", "mac"),
        ),
    ),
    "cilium_lxc": Layout(
        file="cilium",
        key=(("ip", "ip"),),
        value=(
            ("ifindex", "link"),
            ("sec_id", "u32"),
            ("flags", "u32"),
            ("id", "u16"),
            ("mac", "mac"),
            ("nodemac", "mac"),
            ("", "pad2"),
        ),
    ),
    "cilium_ipcache": Layout(
        file="cilium",
        key=(("prefix", "prefix"),),
        value=(("identity", "u32"), ("tunnelendpoint", "ip")),
    ),
    "cilium_ct4_global": Layout(
        file="cilium",
        key=_TUPLE,
        value=(
            ("packets", "u64"),
            ("bytes", "u64"),
            ("lifetime", "u32"),
            ("flags", "u16"),
            ("rev_nat_index", "u16"),
            ("tx_flags_seen", "u8"),
            ("rx_flags_seen", "u8"),
            ("", "pad2"),
            ("src_sec_id", "u32"),
            ("last_tx_report", "u32"),
            ("last_rx_report", "u32"),
        ),
        planned=False,
    ),
    "cilium_snat_v4": Layout(
        file="cilium", key=_TUPLE, value=(("to_ip", "ip"), ("to_port", "port"), ("", "pad2")), planned=False
    ),
    "cilium_lb4_services_v2": Layout(
        file="cilium_sock",
        key=(("address", "ip"), ("port", "port"), ("slot", "u16"), ("proto", "proto"), ("", "pad3")),
        value=(("backend_id", "u32"), ("count", "u16"), ("rev_nat_index", "u16")),
        of_lab=True,
    ),
    "cilium_lb4_backends_v3": Layout(
        file="cilium_sock",
        key=(("id", "u32"),),
        value=(("address", "ip"), ("port", "port"), ("proto", "proto"), ("", "pad1")),
        of_lab=True,
    ),
}


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else bytes(6)


def _prefix(value: IPv4Network) -> bytes:
    return struct.pack("=I", value.prefixlen) + value.network_address.packed


def _network(raw: bytes) -> IPv4Network:
    return IPv4Network((raw[4:], struct.unpack("=I", raw[:4])[0]))


#: Kind: bytes, and how it is written and read; links are looked up, padding is left out.
_KINDS: Mapping[str, tuple[int, Callable[[Any], bytes], Callable[[bytes], Value]]] = {
    "u64": (8, lambda v: struct.pack("=Q", v), lambda raw: int(struct.unpack("=Q", raw)[0])),
    "u32": (4, lambda v: struct.pack("=I", v), lambda raw: int(struct.unpack("=I", raw)[0])),
    "u16": (2, lambda v: struct.pack("=H", v), lambda raw: int(struct.unpack("=H", raw)[0])),
    "u8": (1, lambda v: bytes([v]), lambda raw: raw[0]),
    "port": (2, lambda v: struct.pack("!H", v), lambda raw: int(struct.unpack("!H", raw)[0])),
    "ip": (4, lambda v: v.packed, IPv4Address),
    "mac": (6, _mac, lambda raw: raw.hex(":")),
    "proto": (1, lambda v: bytes([NUMBERS[v]]), lambda raw: PROTOCOLS.get(raw[0], str(raw[0]))),
    "prefix": (8, _prefix, _network),
    "mask": (
        8,
        lambda v: v.network_address.packed + v.netmask.packed,
        lambda raw: IPv4Network((raw[:4], str(IPv4Address(raw[4:])))),
    ),
}


def links(entry: MapEntry) -> frozenset[str]:
    """The links whose index its value has."""
    fields = (field for field in LAYOUTS[entry.map].value if not field[1].startswith("pad"))
    return frozenset(
        str(value) for (_, kind), value in zip(fields, entry.value, strict=True) if kind == "link" and value
    )


def pack(fields: Fields, values: tuple[Value, ...], indexes: Mapping[str, int]) -> bytes:
    """KeyError for a link that there is not."""
    given, parts = iter(values), []
    for _, kind in fields:
        if kind.startswith("pad"):
            parts.append(bytes(int(kind[3:])))
        elif kind == "link":
            name = next(given)
            parts.append(struct.pack("=I", indexes[str(name)] if name else 0))
        else:
            parts.append(_KINDS[kind][1](next(given)))
    return b"".join(parts)


def unpack(fields: Fields, raw: bytes, names: Mapping[int, str]) -> tuple[Value, ...]:
    """`names` of links by index; one that there is not is `if7`."""
    values: list[Value] = []
    at = 0
    for _, kind in fields:
        size = _width(kind)
        piece, at = raw[at : at + size], at + size
        if kind == "link":
            index = struct.unpack("=I", piece)[0]
            values.append(names.get(index, f"if{index}") if index else "")
        elif not kind.startswith("pad"):
            values.append(_KINDS[kind][2](piece))
    return tuple(values)


def _width(kind: str) -> int:
    if kind.startswith("pad"):
        return int(kind[3:])
    return 4 if kind == "link" else _KINDS[kind][0]


def _size(fields: Fields) -> int:
    return sum(_width(kind) for _, kind in fields)


def key_text(name: str, key: tuple[Value, ...]) -> str:
    """As the real tool lists it: `10.244.1.3`, `10.96.0.10:53/UDP (1)`."""
    match name, key:
        case "cilium_lb4_services_v2", (address, port, slot, proto):
            return f"{address}:{port}/{proto} ({slot})"
        case (("cilium_ct4_global" | "cilium_snat_v4"), (src, dst, sport, dport, proto, flags)):
            related = " related" if int(str(flags)) & RELATED else ""
            return f"{proto} {'IN' if int(str(flags)) & IN else 'OUT'} {src}:{sport} -> {dst}:{dport}{related}"
    return " ".join(map(str, key))


def value_text(name: str, value: tuple[Value, ...]) -> str:
    match name, value:
        case "cilium_lb4_backends_v3", (address, port, proto):
            return f"{address}:{port}/{proto}"
        case "cilium_snat_v4", (address, port):
            return f"XLATE {address}:{port}"
    fields = (field for field, kind in LAYOUTS[name].value if not kind.startswith("pad"))
    return " ".join(
        f"{field}=0x{each:04X}" if field == "flags" else f"{field}={each}"
        for field, each in zip(fields, value, strict=True)
        if each != ""
    )


def text(entry: MapEntry) -> str:
    return f"{entry.map} {key_text(entry.map, entry.key)} → {value_text(entry.map, entry.value)}"
