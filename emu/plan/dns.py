"""What cluster DNS answers from: plain values, picklable, built by `planners.dns` and served by `dnsserver`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsZone:
    """What cluster DNS answers from (built by `planners.dns`, served by `dnsserver`); plain values, picklable."""

    domain: str = "cluster.local"
    ttl: int = 30
    pods_mode: str = "insecure"
    serial: int = 1
    namespaces: tuple[str, ...] = ()
    services: tuple[DnsService, ...] = ()
    pods: tuple[tuple[str, str], ...] = ()  # (namespace, address), for pods_mode verified
    upstream: str = ""
    cluster_networks: tuple[str, ...] = ()  # CIDRs whose reverse names are the zone's own
    ignore_empty: bool = False  # CoreDNS `ignore empty_service`
    synced: bool = True  # False: a missing name is SERVFAIL, as before the API cache has synced
    embedded: tuple[
        tuple[str, tuple[str, ...]], ...
    ] = ()  # names and addresses, for the servers in the Pods themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsPort:
    name: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsEndpoint:
    address: str
    hostname: str = ""
    ports: tuple[DnsPort, ...] = ()
    ready: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsService:
    """`cluster_ips` empty and `external_name` "" means headless."""

    namespace: str
    name: str
    cluster_ips: tuple[str, ...] = ()
    external_name: str = ""
    ports: tuple[DnsPort, ...] = ()
    endpoints: tuple[DnsEndpoint, ...] = ()
