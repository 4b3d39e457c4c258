"""Placed Pods → addresses, from the IPAM that the CNI mode has chosen (`cluster.ipam`).

Asked-for addresses are served first. A Pod for which there is no address stays in ContainerCreating and says so.
"""

from __future__ import annotations

from dataclasses import replace

from emu.api.objects import Condition, Node, Objects, Pod, PodIP
from emu.api.topology import Topology
from emu.cluster import ipam
from emu.cluster.lifecycle import is_active, is_terminating, with_condition
from emu.cluster.model import IPAddress
from emu.cluster.nodes import families
from emu.cluster.objectmap import changed, in_turn, of_kind, owner_uid, subject
from emu.cluster.passes.asked import ANNOTATION, asked_addresses
from emu.errors import InputError

CONDITION = "PodReadyToStartContainers"  # set by kubelets since 1.29: the sandbox and its network
NO_SANDBOX = "FailedCreatePodSandBox"


def addresses(topology: Topology, objects: Objects, now: str) -> Objects:
    waiting = [pod for pod in of_kind(objects, Pod) if is_active(pod) and pod.status.host_ip and not pod.status.pod_ip]
    kind, nodes = ipam.of(topology), {node.metadata.name: node for node in of_kind(objects, Node)}
    if not kind.DECIDES or (not waiting and kind.settled(topology, nodes)):
        return objects
    holders = {
        kind.holder(pod.spec.node_name, entry.ip): pod for pod in of_kind(objects, Pod) for entry in pod.status.pod_ips
    }
    book = kind.book(topology, nodes, holders)
    puts = []
    for pod in sorted(in_turn(waiting), key=lambda pod: ANNOTATION not in pod.metadata.annotations):
        try:
            given = _asked(pod, families(topology), book, holders) or book.next(pod.spec.node_name)
        except LookupError as error:
            puts.append(without(pod, str(error.args[0]), now))
            continue
        pod = with_addresses(pod, given, now)
        holders.update((kind.holder(pod.spec.node_name, str(address)), pod) for address in given)
        puts.append(pod)
    return changed(objects, [*puts, *book.marked()])


def _asked(pod: Pod, versions: tuple[int, ...], book: ipam.Book, holders: dict[str, Pod]) -> tuple[IPAddress, ...]:
    """Raises LookupError when the address will be free later or the Pod's owner made it ask, InputError otherwise."""
    asked: dict[int, IPAddress] = {address.version: address for address in asked_addresses(pod)}
    if not asked:
        return ()
    if set(asked) != set(versions):
        wanted = ", ".join(f"IPv{version}" for version in versions)
        raise _refused(pod, f"names {len(asked)} addresses, this cluster needs one of each of {wanted}")
    given = tuple(asked[version] for version in versions)
    for address in given:
        _check(pod, address, book, holders)
    for address in given:
        book.take(pod.spec.node_name, address)
    return given


def _check(pod: Pod, address: IPAddress, book: ipam.Book, holders: dict[str, Pod]) -> None:
    if why := book.why_not(pod.spec.node_name, address):
        raise _refused(pod, why)
    holder = holders.get(str(address))
    if holder is None:
        return
    if is_terminating(holder) or owner_uid(pod):
        raise LookupError(f"requested IP address {address} is not available: {subject(holder)} has it")
    raise _refused(pod, f"{address} is taken by {subject(holder)}")


def _refused(pod: Pod, why: str) -> InputError:
    return InputError(f"annotation {ANNOTATION}: {why}", subject=subject(pod))


def with_addresses(pod: Pod, given: tuple[IPAddress, ...], now: str) -> Pod:
    conditions = pod.status.conditions
    if any(condition.type == CONDITION for condition in conditions):
        conditions = with_condition(conditions, Condition(type=CONDITION, status="True", last_transition_time=now))
    ips = tuple(PodIP(ip=str(address)) for address in given)
    return replace(pod, status=replace(pod.status, conditions=conditions, pod_ip=ips[0].ip, pod_ips=ips))


def without(pod: Pod, why: str, now: str) -> Pod:
    """A Pod whose sandbox gets no network, with a kubelet's words. The same Pod when it already says so."""
    message = f"failed to setup network for sandbox: {why}"
    condition = Condition(type=CONDITION, status="False", reason=NO_SANDBOX, message=message, last_transition_time=now)
    conditions = with_condition(pod.status.conditions, condition)
    if conditions is pod.status.conditions:
        return pod
    return replace(pod, status=replace(pod.status, conditions=conditions))
