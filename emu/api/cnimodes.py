"""What a CNI mode decides beside the kernel state its planner makes, and what it brings for a topology that does not
say otherwise. One that decides nothing need not stand here. What differs for users: docs/modes.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emu.api import conflist
from emu.api.topology import Cni


@dataclass(frozen=True, slots=True, kw_only=True)
class CniMode:
    """`ipam` is a name in `cluster.ipam.KINDS`. `tunnels`: by IP family, the Node annotation in which Calico keeps the
    address of a Node's tunnel device, for families that have one."""

    name: str
    ipam: str = "host-local"
    tunnels: Mapping[int, str] = field(default_factory=dict)
    proxy: str = "iptables"  # default of proxy.mode
    proxy_options: Mapping[str, object] = field(default_factory=dict)  # default of proxy.options, with that mode
    dns_replicas: int = 2  # default of dns.replicas
    nodes: Mapping[int, str] = field(default_factory=dict)  # default of ranges.nodes, by IP family
    pods: Mapping[int, str] = field(default_factory=dict)  # default of ranges.pods, by IP family
    by_option: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)  # … with cni.options so
    shared_range: bool = False  # no Node has a part of ranges.pods of its own: each has all of it
    node_network: bool = False  # Pods are hosts of the Node network: ranges.pods is ranges.nodes
    first: int = 2  # of ipam shared: the number of the first address in the range that is given
    one_range: bool = False  # Pods have addresses of the Node networks, which are subnets of ranges.pods
    fabric: str = "switches"  # default of fabric.kind
    mtu: int = 1500  # default of fabric.mtu
    host_ports: bool = False  # containers may have a hostPort
    publishes: tuple[str, str] | None = None  # the option, and its value, with which Services may publish ports
    resolver: str = ""  # where each Pod's own runtime answers for names, inside the Pod
    kubelet: bool = True  # a kubelet keeps its chains on each Node
    conflist: bool = False  # CNI plugins join the Pods: cni.conflist says which


_CALICO = "projectcalico.org/"
PLUGINS = "plugins"  # the mode that a conflist means

CNI_MODES: tuple[CniMode, ...] = (
    CniMode(
        name="calico-vxlan",
        ipam="calico",
        tunnels={4: f"{_CALICO}IPv4VXLANTunnelAddr", 6: f"{_CALICO}IPv6VXLANTunnelAddr"},
    ),
    CniMode(name="calico-ipip", ipam="calico", tunnels={4: f"{_CALICO}IPv4IPIPTunnelAddr"}),
    CniMode(name="calico-bgp", ipam="calico"),
    CniMode(name="cilium", proxy="cilium"),
    CniMode(
        name="aws-vpc",
        ipam="aws-vpc",
        proxy_options={"detectLocalMode": "None"},  # EKS starts kube-proxy with clusterCIDR ""
        nodes={4: "10.0.0.0/20"},
        pods={4: "10.0.0.0/16"},
        one_range=True,
        fabric="vpc",
        mtu=9001,
    ),
    CniMode(
        name="docker",
        ipam="docker",
        proxy="none",
        dns_replicas=0,
        pods={4: "172.17.0.0/16"},
        shared_range=True,
        host_ports=True,
        kubelet=False,
    ),
    CniMode(
        name="docker-swarm",
        ipam="shared",
        proxy="none",
        dns_replicas=0,
        pods={4: "10.0.1.0/24"},
        by_option={("endpoint_mode", "vip"): {"pods": "10.0.1.0/25", "services": "10.0.1.128/26"}},
        publishes=("endpoint_mode", "vip"),
        shared_range=True,
        resolver="127.0.0.11",
        kubelet=False,
    ),
    CniMode(
        name="vm",
        ipam="shared",
        proxy="none",
        dns_replicas=0,
        shared_range=True,
        node_network=True,
        first=101,  # Nodes are numbers 11 and up
        kubelet=False,
    ),
    CniMode(name=PLUGINS, ipam="plugins", conflist=True),
)


def cni_mode(name: str) -> CniMode:
    return next((mode for mode in CNI_MODES if mode.name == name), CniMode(name=name))


def takes_host_ports(cni: Cni) -> bool:
    """Whether the Node's own ports can lead to a container."""
    return cni_mode(cni.mode).host_ports or conflist.capable(cni.conflist, "portMappings")


def publishes(cni: Cni) -> bool:
    """Whether every Node's own ports can lead to a Service."""
    with_option = cni_mode(cni.mode).publishes
    return with_option is not None and cni.options.get(with_option[0]) == with_option[1]
