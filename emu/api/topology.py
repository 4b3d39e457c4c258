"""The topology file: nodes, fabric, ranges, CNI, proxy, DNS, images. Decoded by `emu.api.load`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emu.api.meta import json_name


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""  # "": carved from ranges.nodes, node n gets .(10+n)
    switch: str = ""  # "": the first switch


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterEntry:
    """A Linux router with a port (eth0, eth1 …) on each of the switches in `links`."""

    name: str
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """Switches of the Node network. Nodes name theirs in `switch`; `links` join switches: ((a, b), …). Routers join
    racks, which are the switches that links make one (`api.racks`); each rack has a Node network of its own. A switch
    that takes less than the Nodes on it believe (`switch_mtu`) drops what is longer, and a router that has a port on it
    says so.

    `kind` vpc: a cloud's network in place of all that. Each uplink leads to the VPC, which delivers by the table of
    whom it has given which address; a name in `switches` is then only the subnet that a Node is in."""

    kind: str = "switches"  # or vpc
    switches: tuple[str, ...] = ("fabric",)
    links: tuple[tuple[str, str], ...] = ()
    routers: tuple[RouterEntry, ...] = ()
    mtu: int = 1500  # of the Nodes' uplinks and of all else that the file does not say; or what the CNI mode brings
    switch_mtu: Mapping[str, int] = json_name("switch_mtu", default_factory=dict)  # of a switch and its routers
    forwards: str = "everything"  # or node-addresses, as a cloud's: packets of the Node networks alone

    def mtu_of(self, switch: str) -> int:
        return self.switch_mtu.get(switch, self.mtu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """CIDRs, one per family of the cluster, the preferred family first. With routers, `nodes` has one per rack and
    family: those of the first family in the order of the racks, then those of the second; in a VPC one per subnet."""

    nodes: tuple[str, ...] = ("192.168.100.0/24",)
    pods: tuple[str, ...] = ("10.244.0.0/16",)
    services: tuple[str, ...] = ("10.96.0.0/12",)
    node_pod_prefix: int = json_name("node_pod_prefix", default=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cni:
    """`mode` is a name in `planners.cni.MODES`; `options` are checked by that mode's file. A `conflist` means mode
    `plugins`: the file of that name, beside the topology file, stands here in full (`api.conflist`)."""

    mode: str = "flannel-vxlan"
    options: Mapping[str, object] = field(default_factory=dict)
    conflist: Mapping[str, object] = field(default_factory=dict)
    bin_dir: tuple[str, ...] = ()  # where its plugins are; (): where Debian and containerd have them


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """`mode` is a name in `planners.proxy.MODES`."""

    mode: str = "iptables"
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    domain: str = "cluster.local"
    replicas: int = 2
    ttl: int = 30  # kubeadm's Corefile
    pods: str = "insecure"  # disabled, insecure, verified
    upstream: str = ""  # address of a name server inside the lab; "": other names are refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    name: str
    seed: int = 0
    nodes: tuple[NodeEntry, ...]
    fabric: Fabric = field(default_factory=Fabric)
    ranges: Ranges = field(default_factory=Ranges)
    family: str = "ipv4"  # ipv4, ipv6, ipv4-ipv6, ipv6-ipv4
    cni: Cni = field(default_factory=Cni)
    proxy: Proxy = field(default_factory=Proxy)
    dns: Dns = field(default_factory=Dns)
    iptables: str = "nft"  # nft, legacy
    images: Mapping[str, object] = field(default_factory=dict)  # image → emu.api.images.Image, see emu/api/images.yaml
    manifests: tuple[str, ...] = ("manifests",)  # files or folders, beside the topology file
