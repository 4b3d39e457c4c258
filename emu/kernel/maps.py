"""Maps of a Node's eBPF programs: the entries of a plan written, removed and read back.

The maps are those of the files that the Node's programs come from, loaded once for it and held while it is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from emu.errors import KernelError
from emu.kernel.bpf import load
from emu.kernel.bpf.library import Map, Programs
from emu.kernel.handle import Handle
from emu.memo import by_identity
from emu.plan import render
from emu.plan.ebpf import LAYOUTS, Layout, MapEntry, pack, unpack


def held(handle: Handle, file: str) -> Programs:
    if file not in handle.objects:
        handle.objects[file] = load.load(file)
    return handle.objects[file]


def write(handle: Handle, entries: Iterable[MapEntry]) -> None:
    """Those of the Node's own maps, those of a map in one call."""
    keys: defaultdict[Map, list[bytes]] = defaultdict(list)
    values: defaultdict[Map, list[bytes]] = defaultdict(list)
    for entry, layout, found in _own(handle, entries):
        key, value = _packed(entry)
        keys[found].append(key)
        values[found].append(value or _with_links(handle, entry, layout))
    for each in keys:
        each.update_all(keys[each], values[each])


@by_identity
def _packed(entry: MapEntry) -> tuple[bytes, bytes]:
    """Key and value: many Nodes have the same entry. The value is empty where it has links, which are a Node's own."""
    layout = LAYOUTS[entry.map]
    has_links = any(kind == "link" for _, kind in layout.value)
    return pack(layout.key, entry.key, {}), b"" if has_links else pack(layout.value, entry.value, {})


def _with_links(handle: Handle, entry: MapEntry, layout: Layout) -> bytes:
    try:
        return pack(layout.value, entry.value, handle.indexes)
    except KeyError as error:
        command = render.command(handle.netns.name, entry)
        raise KernelError(f"{command} : there is no link {error}") from None


def remove(handle: Handle, entries: Iterable[MapEntry]) -> None:
    for entry, layout, found in _own(handle, entries):
        found.delete(pack(layout.key, entry.key, {}))


def _own(handle: Handle, entries: Iterable[MapEntry]) -> Iterator[tuple[MapEntry, Layout, Map]]:
    known: dict[str, Map] = {}
    for entry in entries:
        layout = LAYOUTS[entry.map]
        if not layout.of_lab:
            if entry.map not in known:
                known[entry.map] = held(handle, layout.file).map(entry.map)
            yield entry, layout, known[entry.map]


def there(handle: Handle, planned: Sequence[MapEntry]) -> Iterator[MapEntry]:
    """All entries of the Node's own maps of which some are planned."""
    for name in dict.fromkeys(entry.map for entry in planned):
        if not LAYOUTS[name].of_lab:
            yield from entries(handle, name)


def entries(handle: Handle, name: str) -> Iterator[MapEntry]:
    layout = LAYOUTS[name]
    if layout.file not in handle.objects:
        return
    names = {index: link for link, index in handle.indexes.items()}
    for key, value in handle.objects[layout.file].map(name).items():
        yield MapEntry(map=name, key=unpack(layout.key, key, {}), value=unpack(layout.value, value, names))
