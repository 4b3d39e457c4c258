"""Services → clusterIPs. Asked-for ones are checked and served first; the others are decided by the seed, above the
static band at the start of the range, which stays free for asking as long as there is room elsewhere.
Source: kubernetes pkg/registry/core/service/ipallocator (KEP-3070), pkg/registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from emu import names
from emu.api.objects import Objects, Service, ServiceSpec
from emu.api.topology import Topology
from emu.cluster.model import IPAddress, IPNetwork
from emu.cluster.nodes import families, ranges
from emu.cluster.objectmap import changed, in_turn, of_kind, subject
from emu.errors import InputError, PlanError

HEADLESS = "None"
IPV6_LIMIT = 1 << 16  # the allocator looks at no more of an IPv6 range


def clusterips(topology: Topology, objects: Objects, now: str) -> Objects:
    services = in_turn(of_kind(objects, Service))
    new = [service for service in services if not service.spec.cluster_ips]
    if not new:
        return objects
    holders = {ip: service for service in services for ip in service.spec.cluster_ips if ip != HEADLESS}
    puts = []
    for service in sorted(new, key=lambda service: not service.spec.cluster_ip):
        spec = _with_families(service, families(topology))
        ips = [HEADLESS] if spec.cluster_ip == HEADLESS else _addresses(topology, service, spec, holders)
        spec = replace(spec, cluster_ip=ips[0], cluster_ips=tuple(ips), ports=_ports(spec))
        puts.append(replace(service, spec=spec))
    return changed(objects, puts)


def _ports(spec: ServiceSpec) -> tuple:
    return tuple(replace(port, target_port=port.target_port or port.port) for port in spec.ports)


def _with_families(service: Service, cluster: tuple[int, ...]) -> ServiceSpec:
    """`ipFamilies` and `ipFamilyPolicy` as the API server fills them in."""
    spec, known = service.spec, [f"IPv{family}" for family in cluster]
    asked = list(spec.ip_families) or _family_of(service, spec.cluster_ip)
    for family in asked:
        if family not in known:
            raise InputError(
                f"spec.ipFamilies: {family} is not configured on this {' and '.join(known)} cluster",
                subject=subject(service),
            )
    policy = spec.ip_family_policy or ("RequireDualStack" if len(asked) > 1 else "SingleStack")
    if policy == "RequireDualStack" and len(known) < 2:
        raise InputError(
            f"spec.ipFamilyPolicy is RequireDualStack, this cluster has {known[0]} only", subject=subject(service)
        )
    both = list(dict.fromkeys((*asked, *known)))
    picked = both[:1] if policy == "SingleStack" else both
    return replace(spec, ip_families=tuple(picked), ip_family_policy=policy)


def _family_of(service: Service, text: str) -> list[str]:
    return [f"IPv{_parsed(service, text).version}"] if text not in ("", HEADLESS) else []


def _parsed(service: Service, text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise InputError(
            f"spec.clusterIP is {text!r}, must be an address, None or empty", subject=subject(service)
        ) from None


def _addresses(topology: Topology, service: Service, spec: ServiceSpec, holders: dict[str, Service]) -> list[str]:
    by_family = {f"IPv{network.version}": network for network in ranges(topology, "services")}
    ips = []
    for number, family in enumerate(spec.ip_families):
        network = by_family[family]
        if spec.cluster_ip and number == 0:
            ip = _checked(service, _parsed(service, spec.cluster_ip), network, holders)
        else:
            ip = _free(topology.seed, service, network, holders)
        holders[ip] = service
        ips.append(ip)
    return ips


def _checked(service: Service, address: IPAddress, network: IPNetwork, holders: dict[str, Service]) -> str:
    if address not in network:
        raise _refused(service, f"{address} is not in the service range {network}")
    number = int(address) - int(network.network_address)
    if not 1 <= number <= usable(network):
        which = "network" if number == 0 else "broadcast"
        raise _refused(service, f"{address} is the {which} address of the service range {network}")
    if (holder := holders.get(str(address))) is not None:
        raise _refused(service, f"{address} is taken by {subject(holder)}")
    return str(address)


def _refused(service: Service, why: str) -> InputError:
    return InputError(f"spec.clusterIP {why}", subject=subject(service))


def usable(network: IPNetwork) -> int:
    """How many addresses can be given, the first of them number 1 of the range."""
    if network.version == 6:
        return min(network.num_addresses, IPV6_LIMIT) - 1
    return network.num_addresses - 2


def static_band(network: IPNetwork) -> int:
    size = network.num_addresses if network.version == 4 else min(network.num_addresses, IPV6_LIMIT)
    return 0 if size < 16 else min(max(16, size // 16), 256)


def _free(seed: int, service: Service, network: IPNetwork, holders: dict[str, Service]) -> str:
    """From a place decided by the seed, the next free number of the upper band, else of the lower."""
    band, last = static_band(network), usable(network)
    upper, lower = range(band + 1, last + 1), range(1, min(band, last) + 1)
    meta = service.metadata
    draw = int.from_bytes(names.digest("clusterip", seed, network, meta.namespace, meta.name)[:8], "big")
    for numbers in (upper, lower):
        if (number := _from(numbers, draw, network, holders)) is not None:
            return str(network[number])
    raise PlanError(
        f"{subject(service)}: the service range {network} is used up: all {last} addresses are taken",
        hint="give a larger ranges.services",
    )


def _from(numbers: Sequence[int], draw: int, network: IPNetwork, holders: dict[str, Service]) -> int | None:
    for step in range(min(len(numbers), len(holders) + 1)):
        number = numbers[(draw + step) % len(numbers)]
        if str(network[number]) not in holders:
            return number
    return None
