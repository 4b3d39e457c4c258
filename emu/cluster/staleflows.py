"""Which conntrack entries a change of Services leaves wrong.

kube-proxy clears the entries of UDP only: the kernel would send each later datagram of a flow to the endpoint that is
gone, while TCP finds out by itself. Source: kubernetes pkg/proxy/conntrack/cleanup.go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from emu.cluster.model import Frontend, IPAddress, usable


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleFlow:
    """UDP entries to `address`:`port` to be cleared; with `backend`, only those translated to it."""

    address: IPAddress
    port: int
    backend: IPAddress | None = None


Name = tuple[str, IPAddress]


def refusing(frontends: Iterable[Frontend]) -> frozenset[Name]:
    """The UDP Services that have no endpoint."""
    return frozenset(name for name, each in _by_name(frontends).items() if not _places(each))


def stale_flows(
    old: Iterable[Frontend], new: Iterable[Frontend], unused: Collection[Name] = frozenset()
) -> tuple[StaleFlow, ...]:
    """An endpoint that is gone; a Service that is gone, or that had no endpoint until now (or was not there). `unused`:
    the Services that have refused all since the Nodes were made, to which there is no flow: conntrack forgets a packet
    that a rule rejects."""
    before, after = _by_name(old), _by_name(new)
    return tuple(
        stale
        for name in dict.fromkeys((*before, *after))
        if before.get(name) is not after.get(name) and name not in unused
        for stale in _stale(before.get(name), after.get(name))
    )


def _by_name(frontends: Iterable[Frontend]) -> dict[Name, Frontend]:
    return {(str(each), each.cluster_ip): each for each in frontends if each.protocol == "UDP"}


def _stale(old: Frontend | None, new: Frontend | None) -> Iterator[StaleFlow]:
    before, after = _places(old), _places(new)
    one = old or new
    assert one
    for address in (one.cluster_ip, *one.external_ips, *one.load_balancer_ips):
        if new is None or (after and not before):
            yield StaleFlow(address=address, port=one.port)
        else:
            for backend in sorted({address for address, _ in before - after}, key=int):
                yield StaleFlow(address=address, port=one.port, backend=backend)


def _places(frontend: Frontend | None) -> frozenset[tuple[IPAddress, int]]:
    return frozenset((each.address, each.port) for each in usable(frontend.backends)) if frontend else frozenset()
