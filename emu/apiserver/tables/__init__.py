"""What `kubectl get` prints: the API server makes the tables. A file per kind; one tuple.

Source: kubernetes pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emu.api import codec
from emu.api.objects import KubeObject
from emu.api.resources import Resource
from emu.apiserver.tables import (
    daemonsets,
    deployments,
    endpoints,
    endpointslices,
    namespaces,
    nodes,
    pods,
    replicasets,
    services,
)
from emu.apiserver.tables.table import KindTable

TABLES: tuple[KindTable, ...] = (
    namespaces.TABLE,
    nodes.TABLE,
    pods.TABLE,
    services.TABLE,
    endpoints.TABLE,
    endpointslices.TABLE,
    deployments.TABLE,
    replicasets.TABLE,
    daemonsets.TABLE,
)

_BY_KIND = {each.kind: each for each in TABLES}


def wanted(accept: str) -> bool:
    """Whether an Accept header asks for a table first."""
    return "as=Table" in accept.partition(",")[0]


def table(resource: Resource, objects: Sequence[KubeObject], version: str) -> dict[str, Any]:
    of_kind = _BY_KIND[resource.kind]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": [
            {"name": each.name, "type": each.type, "format": each.format, "description": "", "priority": each.priority}
            for each in of_kind.columns
        ],
        "rows": [{"cells": list(of_kind.cells(obj)), "object": _metadata(obj)} for obj in objects],
    }


def _metadata(obj: KubeObject) -> dict[str, Any]:
    meta = codec.encode(obj.metadata)
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
