"""`kubectl get services`."""

from __future__ import annotations

from emu.api.objects import Service, ServicePort
from emu.apiserver.tables.table import AGE, NAME, NONE, Cell, Column, KindTable, age, labels, wide


def cells(obj: Service) -> tuple[Cell, ...]:
    spec = obj.spec
    address = spec.cluster_ips[0] if spec.cluster_ips else spec.cluster_ip
    ports = ",".join(map(port, spec.ports)) or NONE
    return obj.metadata.name, spec.type, address or NONE, NONE, ports, age(obj), labels(spec.selector)


def port(value: ServicePort) -> str:
    return f"{value.port}/{value.protocol}"


TABLE = KindTable(
    "Service",
    (
        NAME,
        Column("Type"),
        Column("Cluster-IP"),
        Column("External-IP"),
        Column("Port(s)"),
        AGE,
        *wide("Selector"),
    ),
    cells,
)
