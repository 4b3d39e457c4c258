"""Placed Pods → addresses of their Node's range, in the order of the host-local IPAM plugin.

host-local goes round the range (the first address is the gateway's) from the one it reserved last, so that an address
is not used again at once. The last one stands in an annotation of the Node, as the plugin keeps it in a file. Asked-for
addresses are served first and leave that mark where it is: the addresses of the other Pods do not depend on them.
A Pod whose range is used up stays in ContainerCreating and says so.
Source: containernetworking/plugins plugins/ipam/host-local/backend/allocator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from emu.api.objects import Condition, Node, Objects, Pod, PodIP
from emu.api.topology import Topology
from emu.cluster.lifecycle import is_active, is_terminating, with_condition
from emu.cluster.model import IPAddress, IPNetwork
from emu.cluster.objectmap import changed, in_turn, of_kind, owner_uid, subject
from emu.cluster.passes.asked import ANNOTATION, asked_addresses
from emu.errors import InputError

LAST_RESERVED = "kube-emu.io/last-reserved-ip"
CONDITION = "PodReadyToStartContainers"  # set by kubelets since 1.29: the sandbox and its network
NO_SANDBOX = "FailedCreatePodSandBox"


def addresses(topology: Topology, objects: Objects, now: str) -> Objects:
    waiting = [pod for pod in of_kind(objects, Pod) if is_active(pod) and pod.status.host_ip and not pod.status.pod_ip]
    if not waiting:
        return objects
    holders = {entry.ip: pod for pod in of_kind(objects, Pod) for entry in pod.status.pod_ips}
    nodes = {node.metadata.name: node for node in of_kind(objects, Node)}
    last = {name: _last_reserved(node) for name, node in nodes.items()}
    puts = []
    for pod in sorted(in_turn(waiting), key=lambda pod: ANNOTATION not in pod.metadata.annotations):
        cidrs = [ip_network(cidr) for cidr in nodes[pod.spec.node_name].spec.pod_cidrs]
        try:
            given = _asked(pod, cidrs, holders) or _next(cidrs, last[pod.spec.node_name], holders)
        except LookupError as error:
            puts.append(_without(pod, str(error.args[0]), now))
            continue
        pod = _with(pod, given, now)
        holders.update((str(address), pod) for address in given)
        puts.append(pod)
    marked = (_marked(nodes[name], marks) for name, marks in last.items())
    return changed(objects, [*puts, *marked])


def _last_reserved(node: Node) -> dict[int, IPAddress]:
    text = node.metadata.annotations.get(LAST_RESERVED, "")
    return {address.version: address for address in map(ip_address, filter(None, text.split(",")))}


def _marked(node: Node, last: dict[int, IPAddress]) -> Node:
    text = ",".join(map(str, last.values()))
    if node.metadata.annotations.get(LAST_RESERVED, "") == text:
        return node
    meta = replace(node.metadata, annotations={**node.metadata.annotations, LAST_RESERVED: text})
    return replace(node, metadata=meta)


def _next(cidrs: Iterable[IPNetwork], last: dict[int, IPAddress], holders: dict[str, Pod]) -> tuple[IPAddress, ...]:
    """One address of each range, marked in `last`. Raises LookupError, with nothing marked, when a range is used up."""
    given = tuple(_next_of(cidr, last.get(cidr.version), holders) for cidr in cidrs)
    last.update((address.version, address) for address in given)
    return given


def _next_of(cidr: IPNetwork, last: IPAddress | None, holders: dict[str, Pod]) -> IPAddress:
    count = capacity(cidr) + 1  # and the gateway, number 0 of the usable ones
    start = int(last) - int(cidr.network_address) if last is not None and last in cidr else 1
    for step in range(min(count, len(holders) + 2)):
        number = (start + step) % count
        if number and str(cidr[number + 1]) not in holders:
            return cidr[number + 1]
    first, end = cidr[1], cidr[count]
    raise LookupError(f"failed to allocate for range 0: no IP addresses available in range set: {first}-{end}")


def capacity(cidr: IPNetwork) -> int:
    """How many Pods a Node's range holds: all but the network, the gateway and, in IPv4, the broadcast address."""
    return cidr.num_addresses - (3 if cidr.version == 4 else 2)


def _asked(pod: Pod, cidrs: Iterable[IPNetwork], holders: dict[str, Pod]) -> tuple[IPAddress, ...]:
    """Raises LookupError when the address will be free later or the Pod's owner made it ask, InputError otherwise."""
    asked = {address.version: address for address in asked_addresses(pod)}
    cidrs = list(cidrs)
    if not asked:
        return ()
    missing = [f"IPv{cidr.version}" for cidr in cidrs if cidr.version not in asked]
    if missing or len(asked) != len(cidrs):
        families = ", ".join(f"IPv{cidr.version}" for cidr in cidrs)
        raise _refused(pod, f"names {len(asked)} addresses, this cluster needs one of each of {families}")
    for cidr in cidrs:
        _check(pod, asked[cidr.version], cidr, holders)
    return tuple(asked[cidr.version] for cidr in cidrs)


def _check(pod: Pod, address: IPAddress, cidr: IPNetwork, holders: dict[str, Pod]) -> None:
    reserved = [cidr[0], cidr[1], *([cidr[-1]] if cidr.version == 4 else [])]
    if address not in cidr or address in reserved:
        listed = ", ".join(map(str, reserved))
        raise _refused(pod, f"{address} is not a Pod address of {pod.spec.node_name}: {cidr} without {listed}")
    holder = holders.get(str(address))
    if holder is None:
        return
    if is_terminating(holder) or owner_uid(pod):
        raise LookupError(f"requested IP address {address} is not available: {subject(holder)} has it")
    raise _refused(pod, f"{address} is taken by {subject(holder)}")


def _refused(pod: Pod, why: str) -> InputError:
    return InputError(f"annotation {ANNOTATION}: {why}", subject=subject(pod))


def _with(pod: Pod, given: tuple[IPAddress, ...], now: str) -> Pod:
    conditions = pod.status.conditions
    if any(condition.type == CONDITION for condition in conditions):
        conditions = with_condition(conditions, Condition(type=CONDITION, status="True", last_transition_time=now))
    ips = tuple(PodIP(ip=str(address)) for address in given)
    return replace(pod, status=replace(pod.status, conditions=conditions, pod_ip=ips[0].ip, pod_ips=ips))


def _without(pod: Pod, why: str, now: str) -> Pod:
    """The same Pod when it already says so."""
    message = f"failed to setup network for sandbox: {why}"
    condition = Condition(type=CONDITION, status="False", reason=NO_SANDBOX, message=message, last_transition_time=now)
    conditions = with_condition(pod.status.conditions, condition)
    if conditions is pod.status.conditions:
        return pod
    return replace(pod, status=replace(pod.status, conditions=conditions))
