"""A `DnsZone` made quick to search: what a name stands for, without regard to the type asked for.

`None` means that the name does not exist (NXDOMAIN), an empty tuple that it exists and holds no address (NODATA).
Source: coredns/coredns plugin/kubernetes kubernetes.go (Records, findServices, findPods), parse.go, reverse.go, ns.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

from emu.plan.dns import DnsEndpoint, DnsPort, DnsService, DnsZone

#: What CoreDNS stores for a Service or an endpoint that declares no port. Such a name has no SRV record.
NO_PORT = DnsPort(name="", protocol="", port=-1)


class Target(NamedTuple):
    """An address (or the host of an ExternalName Service), and the name it has in the zone, without the zone."""

    host: str
    port: int
    name: str


Found = tuple[Target, ...] | None


def label_of(endpoint: DnsEndpoint) -> str:
    """The label of an endpoint: its hostname, else the address with dashes; `5678:abcd::` ends in `-0`."""
    dashed = endpoint.address.replace(".", "-").replace(":", "-")
    return endpoint.hostname or (dashed + "0" if dashed.endswith("-") else dashed)


def reverse_zones(cidr: str) -> Iterator[str]:
    """The reverse zones that make up a range, cut at whole octets (IPv4) or nibbles (IPv6):
    10.96.0.0/12 is 96.10.in-addr.arpa. to 111.10.in-addr.arpa."""
    network = ip_network(cidr)
    unit = 8 if network.version == 4 else 4
    width = max(unit, -(-network.prefixlen // unit) * unit)
    for part in network.subnets(new_prefix=max(width, network.prefixlen)):
        labels = part.network_address.reverse_pointer.split(".")
        yield ".".join(labels[(part.max_prefixlen - width) // unit :]) + "."


def reverse_address(name: str) -> str:
    """`1.0.96.10.in-addr.arpa.` → `10.96.0.1`; "" if the name is not that of a whole address."""
    labels = name.split(".")[:-3][::-1]
    if name.endswith(".in-addr.arpa."):
        return canonical(".".join(labels))
    if name.endswith(".ip6.arpa.") and all(len(label) == 1 for label in labels):
        return canonical(":".join("".join(labels[at : at + 4]) for at in range(0, len(labels), 4)))
    return ""


def canonical(address: str) -> str:
    """The address as the kernel prints it, "" if it is none. IPv4 in IPv6 counts as IPv4, as in Go's net.IP."""
    try:
        value = ip_address(address)
    except ValueError:
        return ""
    if isinstance(value, IPv6Address):
        mapped = value.ipv4_mapped
        return "" if value.scope_id else str(mapped or value)
    return str(value)


class Directory:
    """Lookups in one zone. Names are relative to the zone and in lower case."""

    def __init__(self, zone: DnsZone) -> None:
        self.zone = zone
        self.domain = zone.domain.lower().strip(".") + "."
        self.namespaces = frozenset(zone.namespaces)
        self.services = {(service.namespace, service.name): service for service in zone.services}
        self.pods = frozenset(zone.pods)
        self.reverse = tuple({name: None for cidr in zone.cluster_networks for name in reverse_zones(cidr)})
        self._of_cluster_ip = {canonical(ip): service for service in zone.services for ip in service.cluster_ips}
        self._of_endpoint: dict[str, list[tuple[DnsService, DnsEndpoint]]] = {}
        for service in zone.services:
            for endpoint in service.endpoints:
                if endpoint.ready:
                    self._of_endpoint.setdefault(canonical(endpoint.address), []).append((service, endpoint))

    def zone_of(self, name: str) -> str:
        """The longest zone the name is in, "" if in none. Reverse names outside the cluster's ranges fall through."""
        mine = [zone for zone in (self.domain, *self.reverse) if name == zone or name.endswith("." + zone)]
        return max(mine, key=len, default="")

    def find(self, relative: str) -> Found:
        """What a name below the zone stands for: `web.default.svc`, `_http._tcp.web.default.svc`, `10-0-0-1.a.pod` …"""
        if relative in ("", "svc", "pod"):
            return ()
        *labels, kind = relative.split(".")
        if kind not in ("svc", "pod") or len(labels) > 4:
            return None
        if not labels:
            return ()
        namespace, name = labels[-1], labels[-2] if len(labels) > 1 else ""
        if namespace not in self.namespaces:
            return None
        if kind == "pod":
            return self._pod(namespace, name)
        return self._service(namespace, name, labels[:-2]) if name else ()

    def _pod(self, namespace: str, name: str) -> Found:
        mode = self.zone.pods_mode
        if mode == "disabled":
            return None
        if not name:
            return ()
        dotted = name.count("-") == 3 and "--" not in name
        address = name.replace("-", "." if dotted else ":")
        if not canonical(address) or (mode == "verified" and (namespace, address) not in self.pods):
            return None
        return (Target(canonical(address), 0, f"{name}.{namespace}.pod"),)

    def _service(self, namespace: str, name: str, left: list[str]) -> Found:
        """`left` is what stands before the Service's name: nothing, an endpoint's label, or _port and _protocol."""
        service = self.services.get((namespace, name))
        if service is None:
            return None
        own, ready = f"{name}.{namespace}.svc", [each for each in service.endpoints if each.ready]
        if service.external_name:
            return None if left or canonical(service.external_name) else (Target(service.external_name, 0, own),)
        if self.zone.ignore_empty and service.cluster_ips and not ready:
            return None
        port, protocol = (label.removeprefix("_") for label in left) if len(left) == 2 else ("", "")
        if service.cluster_ips and len(left) != 1:
            ports = _matching(service.ports, port, protocol)
            return tuple(Target(canonical(ip), p.port, own) for p in ports for ip in service.cluster_ips) or None
        found = [each for each in ready if len(left) != 1 or label_of(each).lower() == left[0]]
        return _endpoints(own, found, port, protocol) or None

    def names_of(self, address: str) -> tuple[str, ...]:
        """The names of an address: the Service whose ClusterIP it is, else every endpoint that has it."""
        if service := self._of_cluster_ip.get(address):
            return (f"{service.name}.{service.namespace}.svc.{self.domain}",)
        return tuple(
            dict.fromkeys(
                f"{label_of(endpoint)}.{service.name}.{service.namespace}.svc.{self.domain}"
                for service, endpoint in self._of_endpoint.get(address, ())
            )
        )

    def name_servers(self, address: str) -> tuple[Target, ...]:
        """Who serves the zone, seen from the server at `address`: the Services it is an endpoint of, else itself."""
        mine = dict.fromkeys(service for service, _ in self._of_endpoint.get(canonical(address), ()))
        if not mine:
            return (Target(canonical(address), 0, "ns.dns"),) if address else ()
        return tuple(target for service in mine for target in _served(service))


def _matching(ports: tuple[DnsPort, ...], name: str, protocol: str) -> Iterator[DnsPort]:
    for port in ports or (NO_PORT,):
        if name in ("", port.name.lower()) and protocol in ("", port.protocol.lower()):
            yield port


def _endpoints(own: str, endpoints: list[DnsEndpoint], port: str, protocol: str) -> tuple[Target, ...]:
    return tuple(
        Target(canonical(endpoint.address), match.port, f"{label_of(endpoint)}.{own}")
        for endpoint in endpoints
        for match in _matching(endpoint.ports, port, protocol)
    )


def _served(service: DnsService) -> Iterator[Target]:
    own = f"{service.name}.{service.namespace}.svc"
    for ip in service.cluster_ips:
        yield Target(canonical(ip), 0, own)
    for endpoint in () if service.cluster_ips else service.endpoints:
        yield Target(canonical(endpoint.address), 0, f"{label_of(endpoint)}.{own}")
