"""`kubectl describe`, made on the server. A file per kind; one tuple. Fields that do not exist here are left out.

Source: kubernetes staging/src/k8s.io/kubectl/pkg/describe/describe.go."""

from __future__ import annotations

from emu.api.objects import KubeObject, Objects
from emu.apiserver.describe import (
    daemonset,
    deployment,
    endpoints,
    endpointslice,
    namespace,
    node,
    pod,
    replicaset,
    service,
)
from emu.apiserver.describe.lines import KindDescription

DESCRIPTIONS: tuple[KindDescription, ...] = (
    namespace.DESCRIPTION,
    node.DESCRIPTION,
    pod.DESCRIPTION,
    service.DESCRIPTION,
    endpoints.DESCRIPTION,
    endpointslice.DESCRIPTION,
    deployment.DESCRIPTION,
    replicaset.DESCRIPTION,
    daemonset.DESCRIPTION,
)

_BY_KIND = {each.kind: each for each in DESCRIPTIONS}


def describe(obj: KubeObject, objects: Objects) -> str:
    """`objects`: all there are, for what is told of one kind from another (a Service's endpoints)."""
    return _BY_KIND[obj.KIND].text(obj, objects)
