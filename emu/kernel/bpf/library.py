"""libbpf by ctypes: compiled programs → descriptors. iproute2 needs the same library, so it is there.

Nothing is pinned. A loaded program lives as long as a descriptor, a filter or a link to a cgroup holds it: it goes with
the testbed's process or with the namespace of the link it is attached to, whichever is later.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from emu.errors import KernelError, MissingTool, NotPermitted

NAME = "libbpf.so.1"
EPERM = 1
LINK_INFO, CGROUP_ID = 64, 16  # struct bpf_link_info: its size here, and where cgroup.cgroup_id lies
_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_said: list[str] = []  # what libbpf has to say of the last failure


@contextmanager
def loaded(source: bytes, what: str) -> Iterator[Programs]:
    """The programs of one object file, in the kernel; their descriptors are closed at the end."""
    programs = load(source, what)
    try:
        yield programs
    finally:
        programs.close()


def load(source: bytes, what: str) -> Programs:
    """To be closed. Raises KernelError, NotPermitted, MissingTool."""
    library = _library()
    _said.clear()
    handle = library.bpf_object__open_mem(source, len(source), None)
    if not handle:
        raise _error(what)
    if library.bpf_object__load(handle):
        error = _error(what)
        library.bpf_object__close(handle)
        raise error
    return Programs(handle)


Loading = AbstractContextManager["Programs"]


class Programs:
    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._links: dict[str, int] = {}

    def close(self) -> None:
        """What is attached to cgroups is detached; filters of links stay."""
        while self._links:
            _library().bpf_link__destroy(self._links.popitem()[1])
        _library().bpf_object__close(self._handle)

    def fd(self, name: str) -> int:
        found = _library().bpf_object__find_program_by_name(self._handle, name.encode())
        if not found:
            raise KernelError(f"there is no eBPF program {name}")
        return int(_library().bpf_program__fd(found))

    def map(self, name: str) -> Map:
        library = _library()
        found = library.bpf_object__find_map_by_name(self._handle, name.encode())
        if not found:
            raise KernelError(f"there is no eBPF map {name}")
        sizes = library.bpf_map__key_size(found), library.bpf_map__value_size(found)
        return Map(name, int(library.bpf_map__fd(found)), *sizes)

    def attach(self, name: str, cgroup: int) -> None:
        """To a socket call of what runs in a cgroup, by a link: it goes with its descriptor."""
        library = _library()
        found = library.bpf_object__find_program_by_name(self._handle, name.encode())
        link = library.bpf_program__attach_cgroup(found, cgroup) if found else 0
        if not link:
            raise _error(f"bpftool cgroup attach {name}")
        self._links[name] = link

    def attached(self, name: str) -> bool:
        """Whether the kernel still has it there: who forces a link off leaves it without a cgroup."""
        info, size = ctypes.create_string_buffer(LINK_INFO), ctypes.c_uint32(LINK_INFO)
        link = self._links.get(name)
        fd = _library().bpf_link__fd(link) if link else -1
        if fd < 0 or _library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)):
            return False
        return any(info.raw[CGROUP_ID : CGROUP_ID + 8])

    def detach(self, name: str) -> None:
        if link := self._links.pop(name, None):
            _library().bpf_link__destroy(link)

    def configure(self, value: bytes) -> None:
        """Write the one entry of the map `config`."""
        library = _library()
        found = library.bpf_object__find_map_by_name(self._handle, b"config")
        if not found or library.bpf_map_update_elem(library.bpf_map__fd(found), bytes(4), value, 0):
            raise _error("bpftool map update name config")


class Map:
    """A map of a loaded object, by its descriptor, which is the object's."""

    def __init__(self, name: str, fd: int, key_bytes: int, value_bytes: int) -> None:
        self.name, self.fd = name, fd
        self._key_bytes, self._value_bytes = key_bytes, value_bytes

    def update(self, key: bytes, value: bytes) -> None:
        assert (len(key), len(value)) == (self._key_bytes, self._value_bytes), self.name
        if _library().bpf_map_update_elem(self.fd, key, value, 0):
            raise _error(f"bpftool map update name {self.name}")

    def update_all(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """In one call: BPF_MAP_UPDATE_BATCH."""
        count = ctypes.c_uint32(len(keys))
        assert {*map(len, keys)} == {self._key_bytes} and {*map(len, values)} == {self._value_bytes}, self.name
        given = b"".join(keys), b"".join(values), ctypes.byref(count), None
        if _library().bpf_map_update_batch(self.fd, *given):
            raise _error(f"bpftool map update name {self.name}")

    def delete(self, key: bytes) -> None:
        """One that is not there is no error."""
        _library().bpf_map_delete_elem(self.fd, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        library, key = _library(), None
        following, value = ctypes.create_string_buffer(self._key_bytes), ctypes.create_string_buffer(self._value_bytes)
        while not library.bpf_map_get_next_key(self.fd, key, following):
            key = following.raw
            if not library.bpf_map_lookup_elem(self.fd, key, value):
                yield key, value.raw


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
        "bpf_map_update_batch": (ctypes.c_int, [ctypes.c_int, text, text, pointer, pointer]),
        "bpf_map_lookup_elem": (ctypes.c_int, [ctypes.c_int, text, text]),
        "bpf_map_delete_elem": (ctypes.c_int, [ctypes.c_int, text]),
        "bpf_map_get_next_key": (ctypes.c_int, [ctypes.c_int, text, text]),
        "bpf_map__key_size": (ctypes.c_uint32, [pointer]),
        "bpf_map__value_size": (ctypes.c_uint32, [pointer]),
        "bpf_program__attach_cgroup": (pointer, [pointer, ctypes.c_int]),
        "bpf_link__fd": (ctypes.c_int, [pointer]),
        "bpf_link__destroy": (ctypes.c_int, [pointer]),
        "bpf_obj_get_info_by_fd": (ctypes.c_int, [ctypes.c_int, text, pointer]),
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
