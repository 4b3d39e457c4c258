"""libbpf by ctypes: compiled programs → descriptors. iproute2 needs the same library, so it is there.

Nothing is pinned. A loaded program lives as long as a descriptor or a filter holds it: it goes with the testbed's
process or with the namespace of the link it is attached to, whichever is later.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from emu.errors import KernelError, MissingTool, NotPermitted

NAME = "libbpf.so.1"
EPERM = 1
_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_said: list[str] = []  # what libbpf has to say of the last failure


@contextmanager
def loaded(source: bytes, what: str) -> Iterator[Programs]:
    """The programs of one object file, in the kernel; their descriptors are closed at the end. Raises KernelError,
    NotPermitted, MissingTool."""
    library = _library()
    _said.clear()
    handle = library.bpf_object__open_mem(source, len(source), None)
    if not handle:
        raise _error(what)
    try:
        if library.bpf_object__load(handle):
            raise _error(what)
        yield Programs(handle)
    finally:
        library.bpf_object__close(handle)


Loading = AbstractContextManager["Programs"]


class Programs:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def fd(self, name: str) -> int:
        found = _library().bpf_object__find_program_by_name(self._handle, name.encode())
        if not found:
            raise KernelError(f"there is no eBPF program {name}")
        return int(_library().bpf_program__fd(found))

    def configure(self, value: bytes) -> None:
        """Write the one entry of the map `config`."""
        library = _library()
        found = library.bpf_object__find_map_by_name(self._handle, b"config")
        if not found or library.bpf_map_update_elem(library.bpf_map__fd(found), bytes(4), value, 0):
            raise _error("bpftool map update name config")


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(NAME, use_errno=True)
    except OSError as error:
        raise MissingTool(NAME, wanted_for="eBPF", package="libbpf1") from error
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    signatures: dict[str, tuple[object, list[object]]] = {
        "bpf_object__open_mem": (pointer, [text, size, pointer]),
        "bpf_object__find_map_by_name": (pointer, [pointer, text]),
        "bpf_map__fd": (ctypes.c_int, [pointer]),
        "bpf_map_update_elem": (ctypes.c_int, [ctypes.c_int, text, text, ctypes.c_uint64]),
        "bpf_object__load": (ctypes.c_int, [pointer]),
        "bpf_object__find_program_by_name": (pointer, [pointer, text]),
        "bpf_program__fd": (ctypes.c_int, [pointer]),
        "bpf_object__close": (None, [pointer]),
        "libbpf_set_print": (pointer, [_Print]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_listen)
    return library


def _hear(level: int, text: bytes, arguments: int) -> int:
    """libbpf writes to stderr by default. `arguments` is a C va_list, a pointer on amd64 and on arm64."""
    if level == 0:  # LIBBPF_WARN
        buffer = ctypes.create_string_buffer(4096)
        ctypes.CDLL(None).vsnprintf(buffer, ctypes.c_size_t(4096), text, ctypes.c_void_p(arguments))
        _said.append(buffer.value.decode(errors="replace").strip())
    return 0


_listen = _Print(_hear)


def _error(what: str) -> Exception:
    number = ctypes.get_errno()
    if number == EPERM:
        return NotPermitted(f"{what}: eBPF programs are not permitted", hint="run it as root")
    said = "; ".join(_said[:3])
    return KernelError(f"{what}: {os.strerror(number)}{f' ({said})' if said else ''}")
