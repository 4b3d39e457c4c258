"""The built-in modes that can join a single Pod, and what each makes of the addresses it was given: the planners that
make whole clusters are asked for a cluster of one Node and one Pod. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from emu.addressing import IPAddress, IPInterface, IPNetwork
from emu.api.topology import NodeEntry, Topology
from emu.cluster.model import Cluster, Node, Pod
from emu.plan.merge import Fragment, merge
from emu.plan.model import NetnsKind, NetnsPlan, Plan, Sysctl
from emu.planners.cni import bridge, calico_wiring

NODE = "node"  # the namespace the plugin is called in


@dataclass(frozen=True, slots=True)
class Mode:
    """`by_pod`: the Node's end of a Pod's link is named after the Kubernetes Pod, where the runtime names one."""

    plan: Callable[[Cluster, int], Iterator[Fragment]]
    by_pod: bool = False


MODES: Mapping[str, Mode] = {
    "bridge": Mode(bridge.plan),  # what Flannel's modes do
    "calico": Mode(calico_wiring.plan, by_pod=True),  # what Calico's and Canal do
}


def identity(mode: str, network: str, container_id: str, args: Mapping[str, str]) -> tuple[str, str]:
    """The namespace and name of the Pod: DEL must find them again."""
    named = (args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", ""))
    return named if MODES[mode].by_pod and all(named) else (network, container_id)


def gateway(mode: str, address: IPInterface) -> IPAddress:
    """Where the Pod's default route leads."""
    if MODES[mode].by_pod:
        return calico_wiring.GATEWAY[address.version]
    return address.network.network_address + 1


def plan(
    mode: str, pod: tuple[str, str], given: Sequence[IPInterface], networks: Sequence[IPNetwork], mtu: int
) -> Plan:
    """Two namespaces: the Node's (`NODE`) with what the Pod needs there, and the Pod's."""
    one = _cluster(pod, given, networks)
    made = merge(MODES[mode].plan(one, mtu))
    node = made[NODE]
    forwarding = tuple(_forwarding(address.version) for address in given)
    return Plan(name=one.name, seed=one.seed, netns={**made, NODE: replace(node, sysctls=(*forwarding, *node.sysctls))})


def _forwarding(version: int) -> Sysctl:
    return Sysctl(key="net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding", value="1")


def _cluster(pod: tuple[str, str], given: Sequence[IPInterface], networks: Sequence[IPNetwork]) -> Cluster:
    node = Node(name=NODE, index=1, addresses=(), pod_cidrs=tuple(each.network for each in given), switch="")
    one = Pod(
        namespace=pod[0],
        name=pod[1],
        uid="",
        node=NODE,
        addresses=tuple(each.ip for each in given),
        labels={},
        hostname=pod[1],
        containers=(),
    )
    return Cluster(
        name=NODE,
        seed=0,
        topology=Topology(name="cni", nodes=(NodeEntry(name=NODE),)),
        families=tuple(each.version for each in given),
        nodes=(node,),
        pods=(one,),
        frontends=(),
        pod_ranges=tuple(networks),
        service_ranges=(),
        node_ranges=(),
        objects={},
    )


def without(node: NetnsPlan, pod: str) -> NetnsPlan:
    """The Node once the Pod has left; `pod` is its `namespace/name`."""
    gone = {link.name for link in node.links if link.owner == pod}
    return NetnsPlan(
        name=node.name,
        kind=NetnsKind.NODE,
        owner=node.owner,
        links=tuple(link for link in node.links if link.name not in gone),
    )
