"""What a topology must obey: ranges that hold together, nodes that fit into them. Its fabric: `fabricrules`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from emu import names
from emu.addressing import IPNetwork, overlaps
from emu.api import fabricrules, rules
from emu.api.cnimodes import CniMode, cni_mode
from emu.api.racks import VPC, is_routed, rack_of, racks
from emu.api.topology import Cni, Fabric, NodeEntry, Ranges, Topology
from emu.api.wrong import Wrong

FAMILIES = {"ipv4": (4,), "ipv6": (6,), "ipv4-ipv6": (4, 6), "ipv6-ipv4": (6, 4)}
MOST_NODES = 1000
KEPT_IN_VPC = 4  # network, router, DNS, one for later; and the last
MOST_IN_VPC = 244  # each has a public address of 198.51.100.0/24

#: kubeadm's and Flannel's for IPv4, kind's for IPv6.
DEFAULT_RANGES = {
    "nodes": {4: "192.168.100.0/24", 6: "fd00:192:168:100::/64"},
    "pods": {4: "10.244.0.0/16", 6: "fd00:10:244::/56"},
    "services": {4: "10.96.0.0/12", 6: "fd00:10:96::/112"},
}
DEFAULTS = {text for each in DEFAULT_RANGES.values() for text in each.values()}
IPV6_POD_PREFIX = 64  # kubeadm's node-cidr-mask-size-ipv6


def check(topology: Topology) -> None:
    """Raises Wrong for the first rule broken."""
    rules.label(topology.name, "name")
    rules.one_of(topology.family, FAMILIES, "family")
    rules.one_of(topology.iptables, ("nft", "legacy"), "iptables")
    fabricrules.check(topology.fabric)
    mode = cni_mode(topology.cni.mode)
    if topology.fabric.kind == VPC:
        _vpc(topology)
    shared = mode.node_network
    if shared and is_routed(topology.fabric):
        field, said = ("routers", "join racks") if topology.fabric.routers else ("kind", f"is {topology.fabric.kind}")
        raise Wrong(f"{said}, and cni {topology.cni.mode} has one network of Nodes and Pods", "fabric", field)
    networks = _ranges(topology.ranges, topology.family, topology.fabric, mode)
    if shared and networks["pods"] != networks["nodes"]:
        what = f"is {', '.join(topology.ranges.pods)}, must be that of ranges.nodes: {', '.join(topology.ranges.nodes)}"
        raise Wrong(what, "ranges", "pods", hint=f"with cni {topology.cni.mode} Pods are hosts of the Node network")
    _nodes(topology, networks["nodes"])
    fabricrules.check_routers(topology, networks["nodes"])
    _capacity(topology, networks)
    _dns(topology)
    for field, each in (("cni", topology.cni), ("proxy", topology.proxy)):
        if not each.mode:
            raise Wrong("is missing", field, "mode")
    _conflist(topology.cni)


def _conflist(cni: Cni) -> None:
    """A list of plugins is the mode `plugins`, and that is nothing without one."""
    wanted = cni_mode(cni.mode).conflist
    if wanted and not cni.conflist:
        raise Wrong("is missing: a file like /etc/cni/net.d/10-mynet.conflist", "cni", "conflist")
    for field, given in (("conflist", cni.conflist), ("binDir", cni.bin_dir)):
        if given and not wanted:
            what = f"is given, and mode {cni.mode} calls no plugins"
            raise Wrong(what, "cni", field, hint="leave cni.mode out to have the plugins join the Pods")


def _vpc(topology: Topology) -> None:
    if topology.family != "ipv4":
        raise Wrong(f"is {topology.family}, must be ipv4 with fabric.kind vpc", "family")
    if len(topology.nodes) > MOST_IN_VPC:
        raise Wrong(f"has {len(topology.nodes)} nodes, must have {MOST_IN_VPC} at most in a VPC", "nodes")


def _dns(topology: Topology) -> None:
    dns = topology.dns
    rules.subdomain(dns.domain, "dns", "domain")
    rules.at_least(dns.replicas, 0, "dns", "replicas")
    rules.between(dns.ttl, 0, 3600, "dns", "ttl")  # CoreDNS's own limit
    rules.one_of(dns.pods, ("disabled", "insecure", "verified"), "dns", "pods")
    if dns.upstream:
        rules.address(dns.upstream, "dns", "upstream")


# Ranges


def _ranges(ranges: Ranges, family: str, fabric: Fabric, mode: CniMode) -> dict[str, tuple[IPNetwork, ...]]:
    given = {"nodes": ranges.nodes, "pods": ranges.pods, "services": ranges.services}
    networks = {
        name: tuple(_network(text, "ranges", name, index) for index, text in enumerate(texts))
        for name, texts in given.items()
    }
    for name, each in networks.items():
        if name == "nodes" and is_routed(fabric):
            _racks(each, family, fabric)
        else:
            _versions(each, family, "ranges", name)
    if mode.one_range:
        _within(networks["nodes"], networks["pods"])
    flat = [
        (f"ranges.{name}", network)
        for name, each in networks.items()
        for network in each
        if not (mode.node_network and name == "pods")
    ]
    for a, net_a, b, net_b in overlaps(flat):
        if mode.one_range and {a, b} == {"ranges.nodes", "ranges.pods"}:
            continue
        chosen = a if str(net_b) in DEFAULTS else b
        raise Wrong(f"{a} {net_a} overlaps {b} {net_b}", *chosen.split("."), sentence=True)
    return networks


def _within(nodes: tuple[IPNetwork, ...], pods: tuple[IPNetwork, ...]) -> None:
    """Pods have addresses of the Nodes' subnets, and `pods` is the range that these are carved from."""
    for index, subnet in enumerate(nodes):
        if not any(subnet.version == whole.version and subnet.subnet_of(whole) for whole in pods):  # type: ignore[arg-type]
            whole = " or ".join(map(str, pods))
            raise Wrong(f"is {subnet}, must be a subnet of ranges.pods {whole}", "ranges", "nodes", index)


def _network(text: str, *path: str | int) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        raise Wrong(f"is {text}, must be a range like 10.244.0.0/16", *path) from None
    raise Wrong(f"is {text}, which is an address inside {loose}", *path, hint=f"write {loose}")


def _versions(networks: tuple[IPNetwork, ...], family: str, *path: str | int) -> None:
    wanted, found = FAMILIES[family], tuple(network.version for network in networks)
    if found != wanted:
        said = " then ".join(f"IPv{version}" for version in found) or "empty"
        what = f"is {said}, must be {' then '.join(f'IPv{version}' for version in wanted)} as family {family} says"
        near = next((name for name, versions in FAMILIES.items() if versions == found), "")
        raise Wrong(what, *path, hint=f"family: {near}" if near else "")


def _racks(networks: tuple[IPNetwork, ...], family: str, fabric: Fabric) -> None:
    """Across a router there is another Node network: each rack has its own."""
    names_ = ["+".join(rack) for rack in racks(fabric)]
    wanted = tuple(version for version in FAMILIES[family] for _ in names_)
    if tuple(network.version for network in networks) != wanted:
        each = " then ".join(f"{len(names_)} of IPv{version}" for version in FAMILIES[family])
        what = f"has {len(networks)} ranges, must have {each}: one for each rack that routers join"
        raise Wrong(what, "ranges", "nodes", hint=f"the racks are {', '.join(names_)}")


def _capacity(topology: Topology, networks: dict[str, tuple[IPNetwork, ...]]) -> None:
    """Every node gets a Pod range, of its own or the same as the others."""
    mode = cni_mode(topology.cni.mode)
    count = 1 if mode.shared_range else len(topology.nodes)
    prefix = topology.ranges.node_pod_prefix
    for index, network in enumerate(() if mode.one_range else networks["pods"]):
        own = prefix if network.version == 4 else IPV6_POD_PREFIX
        length = network.prefixlen if mode.shared_range else own
        longest = network.max_prefixlen - 2
        if network.version == 4 and not network.prefixlen <= length <= longest:
            raise Wrong(f"is {length}, must be {network.prefixlen}-{longest}", "ranges", "node_pod_prefix")
        room = 1 << max(0, length - network.prefixlen)
        if count > room:
            what = f"is {network}, which holds {room} ranges of /{length}, but there are {count} nodes"
            raise Wrong(what, "ranges", "pods", index)
    for index, network in enumerate(networks["services"]):
        if network.num_addresses < 16:
            raise Wrong(f"is {network}, must hold 16 addresses at least", "ranges", "services", index)


# Nodes and fabric


def _nodes(topology: Topology, networks: tuple[IPNetwork, ...]) -> None:
    if not topology.nodes:
        raise Wrong("is empty, must have one node at least", "nodes")
    if len(topology.nodes) > MOST_NODES:
        raise Wrong(f"has {len(topology.nodes)} nodes, must have {MOST_NODES} at most", "nodes")
    rules.unique((node.name for node in topology.nodes), "nodes", field=("name",))
    for index, node in enumerate(topology.nodes):
        _node(node, topology.fabric, networks, index)
    _addresses(topology.nodes)


def _node(node: NodeEntry, fabric: Fabric, networks: tuple[IPNetwork, ...], index: int) -> None:
    """A node's name is its netns's: a Pod's netns has a dot in it, the switches' has a name of its own."""
    path = ("nodes", index)
    rules.label(node.name, *path, "name")
    if node.name == names.FABRIC_NETNS:
        raise Wrong(f"is {node.name}, which is the namespace of the switches", *path, "name")
    if fabric.kind == VPC and node.name in (names.VPC, names.INTERNET):
        raise Wrong(f"is {node.name}, which is a namespace of the VPC's", *path, "name")
    rules.labels(node.labels, *path, "labels")
    if node.switch and node.switch not in fabric.switches:
        raise Wrong(f"is {node.switch}, must be one of {', '.join(fabric.switches)}", *path, "switch")
    own = _own(node, fabric, networks)
    for address in _asked(node, index):
        network = next((network for network in own if address in network), None)
        if network is None or address in (network[0], network[-1]):
            wanted = " or ".join(map(str, own))
            raise Wrong(f"is {address}, must be a host of ranges.nodes {wanted}", *path, "address")
        if fabric.kind == VPC and int(address) - int(network.network_address) < KEPT_IN_VPC:
            raise Wrong(f"is {address}, one of the first {KEPT_IN_VPC} of {network}, which are AWS's", *path, "address")


def _own(node: NodeEntry, fabric: Fabric, networks: tuple[IPNetwork, ...]) -> tuple[IPNetwork, ...]:
    """The Node networks of its rack."""
    return networks[rack_of(fabric, node.switch) :: len(racks(fabric))]


def _asked(node: NodeEntry, index: int) -> list[IPv4Address | IPv6Address]:
    """The addresses a node asks for: one, or one of each family with a comma between."""
    return [rules.address(text.strip(), "nodes", index, "address") for text in node.address.split(",") if text]


def _addresses(nodes: tuple[NodeEntry, ...]) -> None:
    """No address asked for twice. One that meets a carved one is found when they are carved."""
    seen: dict[object, str] = {}
    for index, node in enumerate(nodes):
        for address in _asked(node, index):
            if address in seen:
                raise Wrong(f"is {address}, which is that of {seen[address]}", "nodes", index, "address")
            seen[address] = node.name
