"""Which backends of a Service port a Node uses. Source: kubernetes pkg/proxy/topology.go, CategorizeEndpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from emu.cluster.model import Backend, Frontend


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
    cluster = _usable(frontend.backends) if uses_cluster(frontend) else ()
    if not uses_local(frontend):
        return Categories(cluster=cluster, local=(), reachable=cluster, any_usable=bool(cluster))
    local = _usable(backend for backend in frontend.backends if backend.node and backend.node == node)
    usable = any(backend.ready or (backend.serving and backend.terminating) for backend in frontend.backends)
    reachable = tuple(sorted({*cluster, *local}, key=str))
    return Categories(cluster=cluster, local=local, reachable=reachable, any_usable=usable)


def _usable(backends: Iterable[Backend]) -> tuple[Backend, ...]:
    """The ready ones; if there is none, those that still serve while they terminate. One per address and port."""
    distinct = {str(backend): backend for backend in backends if backend.ready or backend.terminating}
    ordered = [distinct[text] for text in sorted(distinct)]
    ready = tuple(backend for backend in ordered if backend.ready)
    return ready or tuple(backend for backend in ordered if backend.serving and backend.terminating)
