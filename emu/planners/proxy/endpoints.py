"""Which backends of a Service port a Node uses. Source: kubernetes pkg/proxy/topology.go, CategorizeEndpoints."""

from __future__ import annotations

from dataclasses import dataclass

from emu.cluster.model import Backend, Frontend, usable


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """`cluster`: for traffic that may go to any Node; `local`: for a Local policy. `any_usable`: somewhere there is
    one, be it only on other Nodes. All are ordered by their text, as kube-proxy orders them."""

    cluster: tuple[Backend, ...]
    local: tuple[Backend, ...]
    reachable: tuple[Backend, ...]
    any_usable: bool


def external(frontend: Frontend) -> bool:
    """Reachable from outside at all."""
    return bool(frontend.node_port or frontend.external_ips or frontend.load_balancer_ips)


def uses_cluster(frontend: Frontend) -> bool:
    """Also with externalTrafficPolicy Local: Pods and the Node itself reach all endpoints through any address."""
    return not frontend.internal_local or external(frontend)


def uses_local(frontend: Frontend) -> bool:
    return frontend.internal_local or (frontend.external_local and external(frontend))


def categorize(frontend: Frontend, node: str) -> Categories:
    cluster = usable(frontend.backends) if uses_cluster(frontend) else ()
    if not uses_local(frontend):
        return Categories(cluster=cluster, local=(), reachable=cluster, any_usable=bool(cluster))
    local = usable(backend for backend in frontend.backends if backend.node and backend.node == node)
    anything = any(backend.ready or (backend.serving and backend.terminating) for backend in frontend.backends)
    reachable = tuple(sorted({*cluster, *local}, key=str))
    return Categories(cluster=cluster, local=local, reachable=reachable, any_usable=anything)
