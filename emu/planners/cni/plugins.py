"""NAME
    plugins: real CNI plugins, called as a container runtime calls them

PACKET PATH
    whatever the plugins make. With bridge and host-local of the CNI project (`two-node-cni-bridge`):
    Pod                Node 1                               Node 2              Pod
    eth0 ── veth… ── cni0 ── (route) ── eth0 ────────── eth0 ── (route) ── cni0 ── veth… ── eth0
    Plugins join Pods to their Node only. Between the Nodes the testbed writes routes, as Flannel's host-gw does,
    unless `between_nodes: none` leaves that to the plugins.

KERNEL OBJECTS
    on a Node   a machine of its own: /run, /tmp, /var/log and /var/lib/cni are its own, empty at first and gone with
                the testbed; /run/netns has the Pods joined there; `iptables` is the variant the topology names
    routes      for every other Node: PODCIDR via its address dev eth0
    all else    is the plugins'. ADD runs when the Pod's namespace is there, Pod by Pod on a Node, Nodes side by side.
                What it made is read from the kernel and stands in the plan as an expectation: predicted with, looked
                for by `emu check`. Rules share tables with ours, so they are written again when those are.

CALLS
    VERSION once, STATUS on each Node before its first Pod (1.1.0), ADD in the order of the list with prevResult,
    CHECK by `emu check`, DEL in reverse order with the stored result, GC when Pods have left a Node (1.1.0).
    CNI_ARGS as kubelet and containerd give them; CNI_CONTAINERID follows from the Pod's uid.
    runtimeConfig, for plugins that declare it: portMappings (of hostPort), ipRanges (the Node's Pod ranges), ips (of
    the annotation kube-emu.io/ip).
    The Pod's addresses are those of the result. A failed ADD is followed by DEL; the Pod says FailedCreatePodSandBox
    and what the plugin said, and ADD is tried again when a Pod leaves the Node, after 1 s, 2 s, 4 s … 60 s, and by
    `emu check --repair`.

FIELDS AND OPTIONS
    cni.conflist                file beside the topology file, or the list itself. {{.PodCIDR}} in a text is the Node's
                                first Pod range, {{index .PodCIDRRanges 1}} its second, as in containerd's conf_template
    cni.binDir                  where the plugins are, one folder or a list (/opt/cni/bin, /usr/lib/cni)
    between_nodes: routes       or none

MTU
    the plugins'; they take the uplink's only if their configuration says so

LIMITS
    Names and MACs are drawn by the plugins, so two runs do not give the same ones.
    Predicted are veth pairs, bridges and VXLAN links; packets over macvlan, ipvlan or a plugin's eBPF programs are not.
    Of sysctls the links' proxy_arp and route_localnet are read; iptables rules inside a Pod are not.
    A DEL that fails is told in the log, and the Pod goes all the same; a kubelet would keep it and try again.
    Results before 0.3.0, which have another shape, are refused.

SOURCES
    containernetworking/cni SPEC.md 1.1.0, libcni/api.go; containerd internal/cri (CNI_ARGS, conf_template);
    kubernetes pkg/kubelet/kuberuntime
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from emu import names
from emu.addressing import IPNetwork
from emu.api import conflist
from emu.api.cnimodes import PLUGINS
from emu.api.topology import Cni, Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.model import Cluster, Pod
from emu.memo import Memo, by_identity
from emu.plan.attachment import Attachment, PluginList
from emu.plan.merge import Fragment
from emu.plan.model import NetnsKind, NetnsPlan
from emu.planners import choices
from emu.planners.cni import flannel_lease

NAME = PLUGINS
BETWEEN, CHOICES = "between_nodes", ("routes", "none")


def check(topology: Topology) -> None:
    for option, value in topology.cni.options.items():
        if option != BETWEEN:
            raise choices.unknown("cni", NAME, option, (BETWEEN,))
        if value not in CHOICES:
            raise Wrong(f"is {shown(value)}, must be {' or '.join(CHOICES)}", "cni", "options", BETWEEN)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    cni = cluster.topology.cni
    if cni.options.get(BETWEEN, CHOICES[0]) == CHOICES[0]:
        yield from _between(cluster)
    networks = {node.name: network(cni, node.pod_cidrs) for node in cluster.nodes}
    cidrs = {node.name: node.pod_cidrs for node in cluster.nodes}
    for pod in (*cluster.pods, *cluster.joining):
        yield _joined((cluster.name, pod.namespace, pod.name), _of(pod), networks[pod.node], cidrs[pod.node])


def _between(cluster: Cluster) -> Iterator[Fragment]:
    for family in cluster.families:
        leases = flannel_lease.leases(cluster, family)
        for own in leases:
            yield flannel_lease.routes((cluster.name, own.node, family), own, leases)


@by_identity
def network(cni: Cni, cidrs: tuple[IPNetwork, ...]) -> PluginList:
    """The list as it is on a Node with these Pod ranges."""
    said: Mapping[str, Any] = cni.conflist
    off = (True, "true")
    return PluginList(
        name=said["name"],
        version=conflist.version(said),
        paths=cni.bin_dir or conflist.DIRECTORIES,
        plugins=tuple(_filled(json.dumps(plugin), cidrs) for plugin in said["plugins"]),
        check=said.get("disableCheck") not in off,
        gc=said.get("disableGC") not in off,
    )


def _filled(text: str, cidrs: tuple[IPNetwork, ...]) -> str:
    return conflist.PLACEHOLDER.sub(lambda found: str(cidrs[int(found[1] or 0)]), text)


_Mappings = tuple[tuple[int, int, str], ...]  # host port, container port, protocol
#: What a Pod's attachment is made of: it must not change when the Pod gets its addresses.
_Facts = tuple[str, str, str, str, tuple[str, ...], _Mappings]


def _of(pod: Pod) -> _Facts:
    ports = (port for each in pod.containers for port in each.container.ports if port.host_port)
    mappings = tuple((port.host_port, port.container_port, port.protocol.lower()) for port in ports)
    return pod.namespace, pod.name, pod.uid, pod.node, tuple(map(str, pod.asked)), mappings


def _make_joined(facts: _Facts, on_node: PluginList, cidrs: tuple[IPNetwork, ...]) -> NetnsPlan:
    namespace, name, uid, node, asked, mappings = facts
    sandbox = names.container_id(uid)
    attachment = Attachment(
        network=on_node,
        node=node,
        pod=f"{namespace}/{name}",
        container_id=sandbox,
        families=tuple(cidr.version for cidr in cidrs),
        ifname=names.POD_ETH,
        args=(
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", namespace),
            ("K8S_POD_NAME", name),
            ("K8S_POD_INFRA_CONTAINER_ID", sandbox),
            ("K8S_POD_UID", uid),
        ),
        capabilities=tuple(_capabilities(cidrs, asked, mappings)),
    )
    netns = names.pod_netns(namespace, name)
    return NetnsPlan(name=netns, kind=NetnsKind.POD, owner=attachment.pod, attachment=attachment)


_joined: Memo[NetnsPlan] = Memo(_make_joined, size=1 << 15)


def _capabilities(
    cidrs: tuple[IPNetwork, ...], asked: tuple[str, ...], mappings: _Mappings
) -> Iterator[tuple[str, str]]:
    """Source: containernetworking/cni CONVENTIONS.md."""
    yield "ipRanges", json.dumps([[{"subnet": str(cidr)}] for cidr in cidrs])
    if mappings:
        keys = ("hostPort", "containerPort", "protocol")
        yield "portMappings", json.dumps([dict(zip(keys, each, strict=True)) for each in mappings])
    if asked:
        yield "ips", json.dumps(list(asked))
