"""Kubernetes' rules for Services and hand-made endpoints."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from emu.api import published, rules
from emu.api.objects import Endpoints, EndpointSlice, Service, ServiceSpec
from emu.api.podrules import PROTOCOLS
from emu.api.wrong import Wrong

FAMILIES = ("IPv4", "IPv6")
POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
DAY_S = 86400


def service(obj: Service) -> None:
    spec = obj.spec
    rules.one_of(spec.type, ("ClusterIP",), "spec", "type")
    rules.labels(spec.selector or {}, "spec", "selector")
    _ports(spec)
    _addresses(spec)
    _affinity(spec)
    rules.one_of(spec.internal_traffic_policy, ("Cluster", "Local"), "spec", "internalTrafficPolicy")
    published.check(obj.metadata.annotations, spec.cluster_ip)


def _ports(spec: ServiceSpec) -> None:
    if not spec.ports and spec.cluster_ip != "None":
        raise Wrong("is missing", "spec", "ports", hint="only a headless Service (clusterIP: None) may have no ports")
    for index, port in enumerate(spec.ports):
        at = ("spec", "ports", index)
        rules.port(port.port, *at, "port")
        rules.one_of(port.protocol, PROTOCOLS, *at, "protocol")
        if port.target_port is not None:
            rules.port_or_name(port.target_port, *at, "targetPort")
        _name(port.name, len(spec.ports), *at)
    rules.unique((port.name for port in spec.ports), "spec", "ports", field=("name",))
    pairs = [f"{port.port}/{port.protocol}" for port in spec.ports]
    rules.unique(pairs, "spec", "ports")


def _name(name: str, ports: int, *path: str | int) -> None:
    """One port of several has a name."""
    if name:
        rules.label(name, *path, "name")
    elif ports > 1:
        raise Wrong("is missing: of several ports each has a name", *path, "name")


def _addresses(spec: ServiceSpec) -> None:
    if spec.cluster_ip not in ("", "None"):
        rules.address(spec.cluster_ip, "spec", "clusterIP")
    if spec.cluster_ips and spec.cluster_ips[0] != spec.cluster_ip:
        what = f"is {spec.cluster_ips[0]}, must be that of spec.clusterIP ({spec.cluster_ip or 'not set'})"
        raise Wrong(what, "spec", "clusterIPs", 0)
    if len(spec.cluster_ips) > 2:
        raise Wrong("has more than 2 items, one for each family", "spec", "clusterIPs")
    for index, text in enumerate(spec.cluster_ips):
        if text != "None" or index:
            rules.address(text, "spec", "clusterIPs", index)
    for index, family in enumerate(spec.ip_families):
        rules.one_of(family, FAMILIES, "spec", "ipFamilies", index)
    rules.unique(spec.ip_families, "spec", "ipFamilies")
    if spec.ip_family_policy:
        rules.one_of(spec.ip_family_policy, POLICIES, "spec", "ipFamilyPolicy")


def _affinity(spec: ServiceSpec) -> None:
    rules.one_of(spec.session_affinity, ("None", "ClientIP"), "spec", "sessionAffinity")
    if spec.session_affinity_config is None:
        return
    if spec.session_affinity == "None":
        raise Wrong("must not be given with sessionAffinity None", "spec", "sessionAffinityConfig")
    seconds = spec.session_affinity_config.client_ip.timeout_seconds
    rules.between(seconds, 1, DAY_S, "spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds")


def endpoints(obj: Endpoints) -> None:
    for index, subset in enumerate(obj.subsets):
        path = ("subsets", index)
        if not (subset.addresses or subset.not_ready_addresses):
            raise Wrong("has neither addresses nor notReadyAddresses", *path)
        for field, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for number, each in enumerate(addresses):
                endpoint_address(each.ip, *path, field, number, "ip")
        for number, port in enumerate(subset.ports):
            at = (*path, "ports", number)
            rules.port(port.port, *at, "port")
            rules.one_of(port.protocol, PROTOCOLS, *at, "protocol")
            _name(port.name, len(subset.ports), *at)


def endpoint_slice(obj: EndpointSlice) -> None:
    rules.one_of(obj.address_type, FAMILIES, "addressType")
    for index, endpoint in enumerate(obj.endpoints):
        path = ("endpoints", index, "addresses")
        if not 1 <= len(endpoint.addresses) <= 100:
            raise Wrong(f"has {len(endpoint.addresses)} items, must have 1-100", *path)
        for number, text in enumerate(endpoint.addresses):
            address = endpoint_address(text, *path, number)
            if f"IPv{address.version}" != obj.address_type:
                raise Wrong(f"is {text}, must be {obj.address_type} as addressType says", *path, number)
    for index, port in enumerate(obj.ports):
        rules.port(port.port, "ports", index, "port")
        rules.one_of(port.protocol, PROTOCOLS, "ports", index, "protocol")
        if port.name:
            rules.label(port.name, "ports", index, "name")
    if len({port.name for port in obj.ports}) < len(obj.ports):
        raise Wrong("must each have a name of their own", "ports")


def endpoint_address(text: str, *path: str | int) -> IPv4Address | IPv6Address:
    """An address another machine can be reached at."""
    address = rules.address(text, *path)
    kinds = ("unspecified", "loopback", "link_local", "multicast")
    kind = next((kind for kind in kinds if getattr(address, f"is_{kind}")), "")
    if kind:
        raise Wrong(f"is {text}, a {kind.replace('_', '-')} address, which no endpoint may have", *path)
    return address
