"""Which conntrack entries a change of Services leaves wrong.

kube-proxy clears the entries of UDP only: the kernel would send each later datagram of a flow to the endpoint that is
gone, while TCP finds out by itself. Source: kubernetes pkg/proxy/conntrack/cleanup.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emu.cluster.model import Backend, Frontend, IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleFlow:
    """UDP entries to `address`:`port` to be cleared; with `backend`, only those translated to it."""

    address: IPAddress
    port: int
    backend: IPAddress | None = None


def stale_flows(old: Iterable[Frontend], new: Iterable[Frontend]) -> tuple[StaleFlow, ...]:
    """An endpoint that is gone; a Service that is gone, or that had no endpoint until now."""
    after = {(str(frontend), frontend.cluster_ip): frontend for frontend in new}
    return tuple(
        stale
        for frontend in old
        if frontend.protocol == "UDP" and after.get((str(frontend), frontend.cluster_ip)) is not frontend
        for stale in _stale(frontend, after.get((str(frontend), frontend.cluster_ip)))
    )


def _stale(old: Frontend, new: Frontend | None) -> Iterator[StaleFlow]:
    before, after = _usable(old), _usable(new) if new else frozenset()
    for address in (old.cluster_ip, *old.external_ips, *old.load_balancer_ips):
        if new is None or (after and not before):
            yield StaleFlow(address=address, port=old.port)
        else:
            for backend in sorted({gone.address for gone in before - after}, key=int):
                yield StaleFlow(address=address, port=old.port, backend=backend)


def _usable(frontend: Frontend) -> frozenset[Backend]:
    """Ready endpoints, or those that still serve while they terminate, told apart by address and port alone."""
    chosen = [each for each in frontend.backends if each.ready] or [
        each for each in frontend.backends if each.serving and each.terminating
    ]
    return frozenset(Backend(address=each.address, port=each.port) for each in chosen)
