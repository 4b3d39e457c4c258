"""eBPF maps of a Node as Cilium's agent lists them (`cilium bpf endpoint list`, `ct list global`, `lb list`, `ipcache
list`); a link stands for its index.

Source: cilium/cilium v1.17, cilium-dbg/cmd/bpf_*.go, pkg/maps, pkg/loadbalancer/loadbalancer.go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from emu.plan.ebpf import MapEntry, Value, key_text

Rows = list[tuple[str, str]]
SERVICES, BACKENDS = "cilium_lb4_services_v2", "cilium_lb4_backends_v3"


@dataclass(frozen=True, slots=True)
class Listing:
    """`maps`: what it reads; `title`: of the two columns, if there are any."""

    maps: tuple[str, ...]
    title: tuple[str, str]
    rows: Callable[[Sequence[MapEntry]], Rows]


def table(kind: str, entries: Iterable[MapEntry]) -> str:
    """`kind` is in LISTINGS."""
    listing = LISTINGS[kind]
    rows = listing.rows(sorted(entries, key=_order))
    if not listing.title[0]:
        return "".join(f"{left} {right}\n" for left, right in rows)
    width = max(len(left) for left, _ in (listing.title, *rows))
    return "".join(f"{left:<{width}}   {right}\n" for left, right in (listing.title, *rows))


def _order(entry: MapEntry) -> tuple[object, ...]:
    key = entry.key
    if entry.map == SERVICES:
        address, port, slot, protocol = key
        key = (address, port, protocol, slot)
    return (entry.map, *(int(each) if isinstance(each, IPv4Address) else str(each) for each in _parts(key)))


def _parts(key: tuple[Value, ...]) -> tuple[object, ...]:
    """Numbers as texts of one length, so that they go by size."""
    return tuple(f"{each:>10}" if isinstance(each, int) else each for each in key)


def _endpoints(entries: Sequence[MapEntry]) -> Rows:
    return [(f"{entry.key[0]}:0", _endpoint(*entry.value)) for entry in entries]


def _endpoint(  # noqa: PLR0917 -- the fields of the map
    link: Value, identity: Value, flags: Value, number: Value, mac: Value, node_mac: Value
) -> str:
    if flags:
        return "(localhost)"
    macs = f"mac={str(mac).upper()} nodemac={str(node_mac).upper()}"
    return f"id={number:<5} sec_id={identity:<5} flags=0x0000 ifindex={link} {macs} parent_ifindex=0"


def _ipcache(entries: Sequence[MapEntry]) -> Rows:
    return [(str(entry.key[0]), _remote(*entry.value)) for entry in entries]


def _remote(identity: Value, end: Value) -> str:
    flags = "hastunnel" if end != IPv4Address(0) else "<none>"
    return f"identity={identity} encryptkey=0 tunnelendpoint={end} flags={flags}"


def _services(entries: Sequence[MapEntry]) -> Rows:
    backends = {entry.key[0]: entry.value for entry in entries if entry.map == BACKENDS}
    return [
        (key_text(SERVICES, entry.key), _slot(backends, entry.key[2], *entry.value))
        for entry in entries
        if entry.map == SERVICES
    ]


def _slot(backends: Mapping[Value, tuple[Value, ...]], slot: Value, number: Value, _count: Value, index: Value) -> str:
    if not slot:
        affinity = "sessionAffinity, " if number else ""
        return f"0.0.0.0:0 ({index}) (0) [ClusterIP, {affinity}non-routable]"
    address, port, protocol = backends.get(number, ("?", "?", "?"))
    return f"{address}:{port}/{protocol} ({index}) ({slot})"


def _connections(entries: Sequence[MapEntry]) -> Rows:
    return [(key_text(entry.map, entry.key), _connection(*map(int, map(str, entry.value)))) for entry in entries]


def _connection(  # noqa: PLR0917 -- the fields of the map
    packets: int, size: int, until: int, flags: int, index: int, sent: int, got: int, identity: int, tx: int, rx: int
) -> str:
    names = "".join(f"{name} " for bit, name in _FLAGS.items() if flags & bit)
    return (
        f"expires={until} Packets={packets} Bytes={size} RxFlagsSeen={got:#04x} LastRxReport={rx} "
        f"TxFlagsSeen={sent:#04x} LastTxReport={tx} Flags={flags:#06x} [ {names}] RevNAT={index} "
        f"SourceSecurityID={identity} BackendID=0"
    )


#: Those that a program here sets (pkg/maps/ctmap/types.go).
_FLAGS = {0x1: "RxClosing", 0x2: "TxClosing", 0x10: "SeenNonSyn", 0x400: "FromTunnel"}

LISTINGS: Mapping[str, Listing] = {
    "endpoint": Listing(("cilium_lxc",), ("IP ADDRESS", "LOCAL ENDPOINT INFO"), _endpoints),
    "ct": Listing(("cilium_ct4_global",), ("", ""), _connections),
    "lb": Listing((SERVICES, BACKENDS), ("SERVICE ADDRESS", "BACKEND ADDRESS (REVNAT_ID) (SLOT)"), _services),
    "ipcache": Listing(("cilium_ipcache",), ("IP PREFIX/ADDRESS", "IDENTITY"), _ipcache),
}
