"""`kubectl get endpoints`: three addresses, then how many more."""

from __future__ import annotations

from emu.api.objects import Endpoints
from emu.apiserver.tables.table import AGE, NAME, NONE, Cell, Column, KindTable, age

MOST = 3


def cells(obj: Endpoints) -> tuple[Cell, ...]:
    return obj.metadata.name, addresses(obj), age(obj)


def addresses(obj: Endpoints) -> str:
    """Those that are ready, port by port."""
    found = []
    for subset in obj.subsets:
        ips = [address.ip for address in subset.addresses]
        found += [joined(ip, port.port) for port in subset.ports for ip in ips] if subset.ports else ips
    more = f" + {len(found) - MOST} more..." if len(found) > MOST else ""
    return ",".join(found[:MOST]) + more if found else NONE


def joined(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


TABLE = KindTable("Endpoints", (NAME, Column("Endpoints"), AGE), cells)
