"""The floor of a plan's eBPF objects: maps, programs, entries, filters and links to the cgroup by nothing but bpf() and
netlink. Files are opened and relocated, entries packed before the clock runs; what is timed is what the kernel does: it
makes maps, verifies programs, takes entries, those of a map in one call."""

from __future__ import annotations

import ctypes
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from emu.kernel import netlink_tc, sockets
from emu.kernel.bpf import library, load
from emu.kernel.netlink import Request
from emu.kernel.programs import PROTOCOLS, WHERE
from emu.plan.ebpf import LAYOUTS, MapEntry, SocketProgram, pack
from emu.plan.model import NetnsPlan, TcProgram

_LOAD_MAP = (0x18, 1)  # linux/bpf.h: opcode BPF_LD | BPF_IMM | BPF_DW, source BPF_PSEUDO_MAP_FD
_LICENSE = b"Dual MIT/GPL"
_U32 = struct.Struct("=I")
_Indexes = Mapping[str, int]


@dataclass(slots=True)
class _Template:
    """A file. Maps: name, (type, key, value, entries), flags. Programs: name, type, type of attachment, instructions,
    and where in these the descriptor of which map stands."""

    maps: list[tuple[str, tuple[int, ...], int]] = field(default_factory=list)
    programs: list[tuple[str, int, int, bytearray, list[tuple[int, int]]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Objects:
    maps: Mapping[str, int]
    programs: Mapping[str, int]


#: Keys and values of a map's entries, and how many there are.
Entries = tuple[bytes, bytes, int]


def packed(node: int, entries: Iterable[MapEntry], indexes: _Indexes) -> dict[tuple[str, str], Entries]:
    """By (file, map). `node` is the Node's number, with which keys of maps for all Nodes begin."""
    keys: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
    values: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
    for entry in entries:
        layout = LAYOUTS[entry.map]
        place = layout.file, entry.map
        keys[place].append((_U32.pack(node) if layout.of_lab else b"") + pack(layout.key, entry.key, {}))
        values[place].append(pack(layout.value, entry.value, indexes))
    return {place: (b"".join(keys[place]), b"".join(values[place]), len(keys[place])) for place in keys}


def made(file: str) -> Objects:
    """A file's maps and programs, new."""
    this, bpf = template(file), _bpf()
    maps = {}
    for name, sizes, flags in this.maps:
        options = struct.pack("@N6I", 32, 0, 0, 0, 0, 0, flags)  # struct bpf_map_create_opts, its beginning
        kind, *rest = sizes
        maps[name] = _right(bpf.bpf_map_create(kind, name.encode()[:15], *rest, options))
    fds, programs = list(maps.values()), {}
    for name, kind, attached, instructions, places in this.programs:
        for at, which in places:
            _U32.pack_into(instructions, at + 4, fds[which])
        text, options = bytes(instructions), struct.pack("@N2i", 16, 0, attached)  # struct bpf_prog_load_opts, likewise
        given = kind, name.encode()[:15], _LICENSE, text, len(text) // 8, options
        programs[name] = _right(bpf.bpf_prog_load(*given))
    return Objects(maps, programs)


def write(fd: int, entries: Entries) -> None:
    keys, values, count = entries
    _right(_bpf().bpf_map_update_batch(fd, keys, values, ctypes.byref(ctypes.c_uint32(count)), None))


def attach(objects: Objects, file: str) -> list[int]:
    """To the cgroup, as `SocketProgram`s are; descriptors of the links."""
    directory = sockets.cgroup()
    types = {name: attached for name, _, attached, _, _ in template(file).programs}
    return [
        _right(_bpf().bpf_link_create(fd, directory, types[name], None)) for name, fd in objects.programs.items()
    ]  # fmt: skip


def config(objects: Objects, program: TcProgram, indexes: _Indexes) -> None:
    parts = (_U32.pack(indexes[each]) if isinstance(each, str) else each.packed for each in program.config)
    write(objects.maps["config"], (bytes(4), b"".join(parts), 1))


def filters(programs: Iterable[TcProgram], held: Mapping[str, Objects], indexes: _Indexes) -> Iterator[Request]:
    together = list(programs)
    for dev in {program.dev: None for program in together}:
        yield netlink_tc.clsact(indexes[dev])
    for each in together:
        fd = held[each.file].programs[each.name]
        yield netlink_tc.bpf(indexes[each.dev], WHERE[each.where], PROTOCOLS[each.protocol], fd, each.name)


def tc(space: NetnsPlan) -> list[TcProgram]:
    return [each for each in space.programs if isinstance(each, TcProgram)]


def at_sockets(space: NetnsPlan) -> list[SocketProgram]:
    return [each for each in space.programs if isinstance(each, SocketProgram)]


@cache
def template(file: str) -> _Template:
    """What libbpf makes of a file, once."""
    bpf, this, loaded = _bpf(), _Template(), load.load(file)
    numbers: dict[int, int] = {}
    for each in _all(bpf.bpf_object__next_map, loaded._handle):
        numbers[bpf.bpf_map__fd(each)] = len(this.maps)
        sizes = bpf.bpf_map__type, bpf.bpf_map__key_size, bpf.bpf_map__value_size, bpf.bpf_map__max_entries
        this.maps.append(
            (bpf.bpf_map__name(each).decode(), tuple(of(each) for of in sizes), bpf.bpf_map__map_flags(each))
        )
    for each in _all(bpf.bpf_object__next_program, loaded._handle):
        text = bytearray(ctypes.string_at(bpf.bpf_program__insns(each), 8 * bpf.bpf_program__insn_cnt(each)))
        at_maps = (at for at in range(0, len(text), 8) if (text[at], text[at + 1] >> 4) == _LOAD_MAP)
        places = [(at, numbers[_U32.unpack_from(text, at + 4)[0]]) for at in at_maps]
        kinds = bpf.bpf_program__type(each), bpf.bpf_program__expected_attach_type(each)
        this.programs.append((bpf.bpf_program__name(each).decode(), *kinds, text, places))
    loaded.close()
    return this


def _all(following: ctypes._NamedFuncPointer, handle: int) -> Iterator[int]:
    each = None
    while each := following(handle, each):
        yield each


def _right(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


@cache
def _bpf() -> ctypes.CDLL:
    """libbpf's thin wrappers: each is one bpf()."""
    bpf = ctypes.CDLL(library.NAME)
    pointer, text, number, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32
    signatures: dict[str, tuple[object, list[object]]] = {
        "bpf_map_create": (number, [number, text, size, size, size, text]),
        "bpf_prog_load": (number, [number, text, text, text, ctypes.c_size_t, text]),
        "bpf_map_update_batch": (number, [number, text, text, pointer, pointer]),
        "bpf_link_create": (number, [number, number, number, pointer]),
        "bpf_object__next_map": (pointer, [pointer, pointer]),
        "bpf_object__next_program": (pointer, [pointer, pointer]),
        "bpf_map__name": (text, [pointer]),
        "bpf_map__max_entries": (size, [pointer]),
        "bpf_map__map_flags": (size, [pointer]),
        "bpf_program__name": (text, [pointer]),
        "bpf_program__insns": (pointer, [pointer]),
        "bpf_program__insn_cnt": (ctypes.c_size_t, [pointer]),
    }
    signatures |= {f"bpf_map__{each}": (number, [pointer]) for each in ("fd", "type", "key_size", "value_size")}
    signatures |= {f"bpf_program__{each}": (number, [pointer]) for each in ("type", "expected_attach_type")}
    for name, (result, arguments) in signatures.items():
        function = getattr(bpf, name)
        function.restype, function.argtypes = result, arguments
    return bpf
