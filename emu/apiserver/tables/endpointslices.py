"""`kubectl get endpointslices`."""

from __future__ import annotations

from collections.abc import Sequence

from emu.api.objects import EndpointSlice
from emu.apiserver.tables.table import AGE, NAME, Cell, Column, KindTable, age

MOST, UNSET = 3, "<unset>"


def cells(obj: EndpointSlice) -> tuple[Cell, ...]:
    ports = [str(port.port) for port in obj.ports]
    addresses = [address for endpoint in obj.endpoints for address in endpoint.addresses]
    return obj.metadata.name, obj.address_type, _few(ports), _few(addresses), age(obj)


def _few(values: Sequence[str]) -> str:
    more = f" + {len(values) - MOST} more..." if len(values) > MOST else ""
    return ",".join(values[:MOST]) + more if values else UNSET


TABLE = KindTable("EndpointSlice", (NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE), cells)
